"""The page, as a jinja template; a string, because a Flower bundle carries Python files alone."""

PAGE = """\
{% macro figure(chart) %}
<figure class="chart">
  {% if chart.title %}<h3>{{ chart.title }}</h3>{% endif %}
  <div class="plot" role="img" aria-label="{{ chart.title or 'chart' }}"></div>
  <script type="application/json">{{ chart.plain|safe }}</script>
  <figcaption><b>How to read this.</b> {{ chart.how }}</figcaption>
</figure>
{% endmacro %}
{% macro choice(options, question) %}
<div class="choice">
  {% if options|length > 1 %}
  <label>{{ question }}
    <select>{% for option in options %}<option>{{ option.label }}</option>{% endfor %}</select>
  </label>
  {% else %}
  <p class="chosen">{{ question }}: {{ options[0].label }}</p>
  {% endif %}
  {% for option in options %}
  <div class="panel" {% if not loop.first %}hidden{% endif %}>
    <div class="grid">{% for chart in option.charts %}{{ figure(chart) }}{% endfor %}</div>
    {% for fact in option.facts %}<p class="fact">{{ fact }}</p>{% endfor %}
  </div>
  {% endfor %}
</div>
{% endmacro %}
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:">
<title>{{ report.plan }}: report of a run</title>
<style>{{ style|safe }}</style>
</head>
<body>
<header>
  <p class="kicker">Lego Federation · report of a run</p>
  <h1>{{ report.plan }}</h1>
  {% if report.description %}<p class="description">{{ report.description }}</p>{% endif %}
  <p class="facts">
    <span class="status {{ report.status }}">{{ words.status_words(report) }}</span>
    <span>{{ report.task }}</span>
    <span>started {{ report.started|replace("T", " ") }}</span>
    <span>took {{ words.duration(report.seconds) }}</span>
  </p>
  {% if report.resumed %}<p class="facts">{{ words.resumed(report) }}</p>{% endif %}
</header>
<main>
<section class="headline">
  <p class="lead">{{ words.headline(report) }}</p>
  {% for sentence in words.comparisons(report) %}<p>{{ sentence }}</p>{% endfor %}
</section>
{% if report.recommendation %}
<section class="box recommendation">
  <h2>Recommendation</h2>
  <p>{{ report.recommendation.sentence }}</p>
  <p class="note">Chosen on validation patients. {{ report.recommendation.afterwards }}</p>
</section>
{% endif %}
<section class="box {{ report.privacy_kind }}">
  <h2>{{ words.privacy_title(report) }}</h2>
  <p>{{ report.privacy_claim }}</p>
  {% if report.spent %}<p>{{ words.privacy_spent(report) }}</p>{% endif %}
</section>
{% if examined %}
<section>
  <h2>Self-examination</h2>
  <p>{{ words.EXAMINED_NOTE }}</p>
  <div class="wide"><table>
    <thead><tr><th>Attack</th><th>Model</th><th class="n">Value</th><th class="n">95 % interval</th>
      <th class="n">Chance</th></tr></thead>
    <tbody>{% for row in examined %}
    <tr><th>{{ row.attack }}</th><td>{{ row.model }}</td><td class="n strong">{{ row.value }}</td>
      <td class="n">{{ row.interval }}</td><td class="n">{{ row.chance }}</td></tr>
    {% endfor %}</tbody>
  </table></div>
  {% for row in examined %}<p class="note">{{ row.sentence }}</p>{% endfor %}
</section>
{% endif %}
{% if report.reason and report.status != "failed" %}
<section class="box absences"><h2>{{ words.status_words(report) }}</h2><p>{{ report.reason }}</p></section>
{% endif %}
{% if results and report.results %}
<section>
  <h2>Results</h2>
  <div class="wide"><table>
    <thead><tr><th>Model</th><th class="n">{{ report.results.metric }}</th><th class="n">95 % interval</th>
      {% if is_paired %}<th class="n">Gain over best block</th>{% endif %}<th class="n">Patients</th>
      <th class="n">Comparable pairs</th><th class="n">Sites</th></tr></thead>
    <tbody>{% for row in results %}
    <tr {% if row.is_best_block %}class="best"{% endif %}>
      <th>{{ row.name }}{% if row.is_best_block %} <span class="badge">best block</span>{% endif %}</th>
      <td class="n strong">{{ row.value }}</td><td class="n">{{ row.interval }}</td>
      {% if is_paired %}<td class="n">{{ row.gain }}</td>{% endif %}<td class="n">{{ row.patients }}</td>
      <td class="n">{{ row.pairs }}</td><td class="n">{{ row.sites }}</td></tr>
    {% endfor %}</tbody>
  </table></div>
  <p class="note">{{ words.POOLED_NOTE }} The best block was chosen on validation patients.
    {% if not is_paired %}No site could score patients who have every modality, so the rows are on different
    patients and cannot be compared with one another.{% endif %}
    {% if report.results.withheld %}Sites withheld {{ words.count_of(report.results.withheld, "score") }},
    because too few patients stood behind them.{% endif %}</p>
  {% if result_chart %}{{ figure(result_chart) }}{% endif %}
</section>
{% endif %}
{% if subsets %}
<section>
  <h2>Every subset of modalities</h2>
  {{ choice(subsets, "Scored on") }}
</section>
{% endif %}
{% if learning %}
<section>
  <h2>Learning curves</h2>
  <div class="grid">{% for chart in learning %}{{ figure(chart) }}{% endfor %}</div>
</section>
{% endif %}
{% if charts %}
<section>
  <h2>{{ "Survival and calibration" if report.task == "survival" else "ROC and calibration" }}</h2>
  {{ choice(charts, "Site") }}
  <p class="note">Each site draws its own patients; curves of several sites are not put together.</p>
</section>
{% endif %}
{% if mergeability %}
<section>
  <h2>Mergeability of the blocks</h2>
  <p>A forecast from the weights alone, made before any patient was scored: 0 is “the same”.</p>
  <div class="grid">{% for chart in mergeability %}{{ figure(chart) }}{% endfor %}</div>
  {% if report.hindsight %}
  <h3 class="apart">Was the forecast right?</h3>
  <p>{{ report.hindsight.sentence }}</p>
  {% endif %}
  {% if forecasts %}
  <div class="wide"><table>
    <thead><tr><th>Blocks</th>{% for name in measures %}<th class="n">{{ name }}</th>{% endfor %}
      <th class="n">Gain of merging them</th><th>Over</th><th class="n">Patients</th></tr></thead>
    <tbody>{% for row in forecasts %}
    <tr><th>{{ row.pair }}</th>{% for one in row.distances %}<td class="n">{{ one }}</td>{% endfor %}
      <td class="n strong">{{ row.gain }}</td><td>{{ row.better }}</td>
      <td class="n">{{ row.patients }}</td></tr>
    {% endfor %}
    {% if agreement %}
    <tr class="best"><th>Kendall’s tau</th>{% for one in agreement %}<td class="n">{{ one }}</td>{% endfor %}
      <td></td><td></td><td></td></tr>
    {% endif %}</tbody>
  </table></div>
  <p class="note">{% if agreement %}Tau is 1 where the nearer pair always gained more, and -1 where it always
    gained less. {% endif %}Gains are over the better of the two blocks, on test patients with every modality,
    looked at afterwards.</p>
  {% endif %}
</section>
{% endif %}
<section>
  <h2>Who took part</h2>
  {% if sites %}
  <div class="wide"><table>
    <thead><tr><th>Site</th>{% for name in modalities %}<th class="n">{{ name }}</th>{% endfor %}
      <th class="n">More than one</th><th class="n">Answered</th></tr></thead>
    <tbody>{% for row in sites %}
    <tr><th>{{ row.site }}</th>
      {% for count in row.patients %}<td class="n">{{ count or "–" }}</td>{% endfor %}
      <td class="n">{{ row.paired or "–" }}</td><td class="n">{{ row.answers or "–" }}</td></tr>
    {% endfor %}</tbody>
  </table></div>
  <p class="note">Training patients with each modality, and with more than one, rounded down to tens by the
    site itself; a dash means that the site does not hold the modality. Answered: rounds that used its answer,
    of those in which it was asked.</p>
  {% else %}<p>No site joined the run.</p>{% endif %}
</section>
<section>
  <h2>Who was left out, when and why</h2>
  {% if report.left_out %}
  <div class="wide"><table>
    <thead><tr><th>Site</th><th>When</th><th>How</th><th>Why</th></tr></thead>
    <tbody>{% for one in report.left_out %}
    <tr><th>{{ one.site }}</th><td>{{ words.left_out_when(one) }}</td>
      <td>{{ "declined" if one.declined else "missing" }}</td><td class="why">{{ one.reason }}</td></tr>
    {% endfor %}</tbody>
  </table></div>
  {% else %}<p>No absence was recorded.</p>{% endif %}
</section>
<section>
  <h2>Agreement and models</h2>
  {% if blocks %}
  <div class="wide"><table>
    <thead><tr><th>Block</th><th class="n">Agreed features</th><th class="n">Parameters</th>
      <th class="n">Rounds</th><th class="n">Kept round</th><th class="n">Share in the merge</th></tr></thead>
    <tbody>{% for row in blocks %}
    <tr><th>{{ row.name }}</th><td class="n">{{ row.features }}</td><td class="n">{{ row.parameters }}</td>
      <td class="n">{{ row.rounds }}</td><td class="n">{{ row.kept }}</td>
      <td class="n">{{ row.share }}</td></tr>
    {% endfor %}</tbody>
  </table></div>
  {% else %}<p>Nothing was agreed on.</p>{% endif %}
  {% if report.bin_edges_days %}
  <p>Time is cut into bins at day {% for edge in report.bin_edges_days %}{{ "{:.0f}".format(edge) }}
    {{- ", " if not loop.last }}{% endfor %}; a model predicts survival at the end of each.</p>
  {% endif %}
</section>
<section>
  <h2>Versions</h2>
  <p>{% for name, version in report.versions.items() %}{{ name }} {{ version }}{{ " · " if not loop.last }}
    {%- else %}None were recorded.{% endfor %}</p>
</section>
</main>
<footer>For research. Not a medical device, and no advice for the care of any patient.</footer>
<noscript><p class="note">Charts need JavaScript; all results are in the tables as well.</p></noscript>
<script>{{ plotly|safe }}</script>
<script>{{ script|safe }}</script>
</body>
</html>
"""
