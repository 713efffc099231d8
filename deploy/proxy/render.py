"""From the coordinator's settings to a file that nginx reads."""

import json
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from deploy.proxy.settings import Fence

TEMPLATE = Path(__file__).with_name("nginx.conf.jinja")
LONGEST_QUEUE_SECONDS = 4  # Flower's heartbeats give up after 5

PLAIN_HTTP = 497  # nginx's own number for plain HTTP at a port for HTTPS
ELSEWHERE = 461  # a number of our own, told as 400: at 403, SuperNodes end and print no reason
REFUSALS = {
    400: "This is no request that can be read. Only Flower's SuperNodes are served here.",
    403: "Only Flower's SuperNodes are served here, by POST below /v1/fleet/. Whatever else a coordinator "
    "does, it does on the coordinator's own machine.",
    408: "The request did not come to its end in time. Look at the line between the site and here.",
    413: "The request is larger than this coordinator allows. Ask the coordinator to raise body-megabytes.",
    ELSEWHERE: "This address is in none of the networks that this coordinator allows. Ask the coordinator to "
    "add the site's address to 'allowed'.",
    PLAIN_HTTP: "Plain HTTP came to a port for HTTPS. Start the SuperNode with --root-certificates, and not "
    "with --insecure.",
    502: "The SuperLink does not answer, or its certificate is not to be trusted. The call is to be tried "
    "again; the coordinator finds the reason in the proxy's error.log.",
    503: "More calls or connections came from this address than this coordinator allows. They are to be "
    "tried again; if this goes on, ask the coordinator to raise calls-per-second or connections.",
    504: "The SuperLink took longer than this coordinator waits. The call is to be tried again.",
}
STATUS = {PLAIN_HTTP: 400, ELSEWHERE: 400}
ALSO = {400: (404, 405, 411, 414, 421, 494, 495, 496, 500, 501, 505)}


def refusal(code: int) -> str:
    """What the proxy answers in place of the SuperLink, in the form whose text SuperNodes print."""
    return json.dumps({"code": STATUS.get(code, code), "detail": REFUSALS[code]})


def nginx_conf(fence: Fence) -> str:
    """Write nginx's configuration.

    Its relative paths (logs, process id) are inside the folder that nginx is started in with `-p`.

    Guarantees:
        No value of the settings can end a word of nginx's language and begin another.
    """
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - this is no HTML; what may stand in a value is checked in `Fence`
    )  # fmt: skip
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        fence=fence,
        elsewhere=ELSEWHERE,
        queue=fence.calls_per_second * LONGEST_QUEUE_SECONDS,
        refusals=[
            {
                "codes": " ".join(map(str, (code, *ALSO.get(code, ())))),
                "status": STATUS.get(code, code),
                "name": code,
                # What cannot be read has no path, without which nginx goes to no place with an @.
                "place": "/refused-400" if code == 400 else f"@refused-{code}",
                "text": refusal(code).replace("'", "\\'"),
            }
            for code in REFUSALS
        ],
    )
