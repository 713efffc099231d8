"""A transformer for every layout: features, visits, patches or pixels as tokens."""

from typing import ClassVar, Literal, final

from jaxtyping import Bool, Float
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from lego_core.encoders._contract import AbstractEncoder
from lego_core.encoders._embedding import FeatureTokens, PixelTokens, RowTokens
from lego_core.encoders._fit import grid_of, require_layout
from lego_core.errors import PlanError, ShapeError
from lego_core.records import Inputs, Layout, ModalitySchema, Tokens


@final
class Transformer(AbstractEncoder):
    """Let all parts of a patient's measurement attend to one another.

    In a table every feature is a token, and one that was not measured has a learned
    token of its own. In a series every visit is a token that knows its time, in a bag
    every row, in an image every pixel with its line and column.

    Args:
        token_dim: Width C of the tokens.
        depth: Number of layers.
        num_heads: Heads H of the attention; must divide `token_dim`.
        feed_forward_factor: Inner width of the feed-forward, in multiples of C.
        dropout: Probability of dropping a feature of what a layer adds, in [0, 1).
        max_tokens: The most tokens a patient may have: time and memory grow with its square.

    Raises:
        PlanError: From `build`, if a table has more features, or an image more pixels,
            than `max_tokens`.
        ShapeError: From the module, if a series or a bag has more rows than that.

    Guarantees:
        The order of the rows of a bag does not matter; in a series their times do.

    Source:
        Gorishniy, Rubachev, Khrulkov, Babenko. "Revisiting Deep Learning Models for
        Tabular Data." NeurIPS 2021. arXiv:2106.11959 (features as tokens). Vaswani et
        al. "Attention Is All You Need." NeurIPS 2017. arXiv:1706.03762.
    """

    layouts: ClassVar[tuple[Layout, ...]] = ("table", "series", "bag", "image")

    kind: Literal["transformer"] = "transformer"
    token_dim: int = Field(default=64, ge=1)
    depth: int = Field(default=2, ge=1)
    num_heads: int = Field(default=4, ge=1)
    feed_forward_factor: int = Field(default=2, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    max_tokens: int = Field(default=1024, ge=1)

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "Transformer":
        if self.token_dim % self.num_heads:
            raise ValueError(
                f"tokens of width {self.token_dim} do not split into {self.num_heads} heads; "
                "choose a 'token-dim' that is a multiple of 'num-heads'"
            )
        return self

    def build(self, schema: ModalitySchema) -> nn.Module:
        """Make the network for the layout and the features of the schema."""
        require_layout(schema, self.layouts, kind=self.kind)
        return _TransformerModule(self, self._embedding(schema))

    def _embedding(self, schema: ModalitySchema) -> nn.Module:
        match schema.layout:
            case "table":
                self._require_room(schema.num_features, "features", remedy="'tabular'")
                return FeatureTokens(schema.num_features, self.token_dim)
            case "image":
                height, width = grid_of(schema, kind=self.kind)
                self._require_room(height * width, "pixels", remedy="'image'")
                return PixelTokens(schema.num_features, self.token_dim, grid=(height, width))
            case "series" | "bag":
                return RowTokens(schema.num_features, self.token_dim, timed=schema.layout == "series")

    def _require_room(self, num_tokens: int, what: str, *, remedy: str) -> None:
        if num_tokens > self.max_tokens:
            raise PlanError(
                f"Encoder 'transformer' takes at most {self.max_tokens} tokens, and this modality has "
                f"{num_tokens} {what} (plan key encoder.max-tokens). Choose encoder {remedy}, or raise "
                "max-tokens if the memory allows: it grows with the square."
            )


class _TransformerModule(nn.Module):
    """The network of `Transformer`.

    Shapes:
        inputs   T features, rows or pixels
        returns  T tokens of width C; 0 in padding
    """

    def __init__(self, settings: Transformer, embedding: nn.Module) -> None:
        super().__init__()
        self.token_dim = settings.token_dim
        self.max_tokens = settings.max_tokens
        self.embedding = embedding
        self.layers = nn.ModuleList(_Layer(settings) for _ in range(settings.depth))

    def forward(self, inputs: Inputs) -> Tokens:
        """Embed, then attend `depth` times."""
        self._check_room(inputs)
        tokens: Tokens = self.embedding(inputs)
        values = tokens.values
        for layer in self.layers:
            values = layer(values, tokens.present)
        return Tokens(values.masked_fill(~tokens.present.unsqueeze(-1), 0.0), tokens.present)

    def _check_room(self, inputs: Inputs) -> None:
        rows = inputs.values.shape[1]
        if rows > self.max_tokens:
            raise ShapeError(
                f"Encoder 'transformer' takes at most {self.max_tokens} rows per patient, and a patient of "
                f"this batch has {rows} (plan key encoder.max-tokens). Keep fewer rows per patient, raise "
                "max-tokens if the memory allows, or choose encoder 'patches' for large bags."
            )


class _Layer(nn.Module):
    """Attend, then think; each with LayerNorm before it and a residual around it.

    Shapes:
        values   (B, T, C)
        present  (B, T)     True where a token may be attended to
        returns  (B, T, C)
    """

    def __init__(self, settings: Transformer) -> None:
        super().__init__()
        dim = settings.token_dim
        self.num_heads = settings.num_heads
        self.attention_norm = nn.LayerNorm(dim)
        self.to_query_key_value = nn.Linear(dim, 3 * dim)
        self.to_output = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(settings.dropout)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(dim),
            nn.Linear(dim, settings.feed_forward_factor * dim),
            nn.GELU(),
            nn.Dropout(settings.dropout),
            nn.Linear(settings.feed_forward_factor * dim, dim),
            nn.Dropout(settings.dropout),
        )

    def forward(self, values: Float[Tensor, "B T C"], present: Bool[Tensor, "B T"]) -> Float[Tensor, "B T C"]:
        """Run one layer."""
        projected = self.to_query_key_value(self.attention_norm(values))  # (B, T, 3 C)
        heads = projected.unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)  # (3, B, H, T, C/H)
        answer = functional.scaled_dot_product_attention(*heads, attn_mask=present[:, None, None, :])
        values = values + self.dropout(self.to_output(answer.transpose(1, 2).flatten(2)))
        return values + self.feed_forward(values)
