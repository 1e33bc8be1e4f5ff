"""The table of the sparse blocks of transformers: one row an architecture, and by name those that are not read."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gatewise.core.names import look_up
from gatewise.nn.hub.options import Clamp, Correction, Groups, Setting, Unread
from gatewise.nn.hub.options import SharedExpert as Shared
from gatewise.nn.hub.weights import NUMBERED, Each, Flat, Joined, Layout, Stacked


@dataclass(frozen=True)
class Architecture:
    """What a sparse block of transformers computes, and how its weights and settings are called.

    Attributes
    ----------
    block : str
        The class in memory.
    folder : str
        Of ``transformers.models``; empty: the key of the row, without "_text".
    gate : str or Setting
        "softmax", "sigmoid" or "sqrtsoftplus", or the setting that says which.
    router : str
        What stands before the gate's "weight", and "bias" if it has one.
    router_bias : bool
    correction : Correction, optional
    groups : Groups, optional
    top_k : Setting
    normalise : bool or Setting
        Whether the kept weights are divided by their sum.
    scale, scale_weight : Setting, str
        The factor of the routed part, and a tensor by which it is multiplied.
    weigh_inputs : bool
        Whether weights multiply the inputs of the experts.
    activation : Setting or Clamp
    gated : bool
        Whether an expert is ``last(fn(inner x) * factor x)``, and not ``last(fn(inner x))``.
    experts, checkpoint : Layout
        In memory, and in files; None: files have the names of memory.
    shared : Shared, optional
    joined : Joined, optional
    identity : Setting, optional
        The number of experts behind the others that return their input.
    output_bias : str
        Name of a tensor that is added to the output; empty if there is none.
    count, width : str
        What config.json calls the number of experts and the hidden units of one.
    renamed : tuple of (str, str)
        Beginnings of names in files, and what they are in memory.
    zero : tuple of Unread
        Settings that must be zero, false or absent, for a layer does nothing of the kind.
    says : tuple of (str, object)
        Fields of config.json that say what this row says anyhow.
    ignores : tuple of str
        Fields of config.json that look like settings and change nothing.
    returns : {"one", "pair", "flat pair"}
        Whether a block gives its output alone, or with the router's logits, or both flattened.
    files : bool
        Whether checkpoints hold the block under one prefix.
    note : str
        What to know of it.
    """

    block: str
    folder: str = ""
    gate: str | Setting = "softmax"
    router: str = "gate."
    router_bias: bool = False
    correction: Correction | None = None
    groups: Groups | None = None
    top_k: Setting = Setting("num_experts_per_tok", "gate.top_k")
    normalise: bool | Setting = Setting("norm_topk_prob", "gate.norm_topk_prob", False)
    scale: Setting | None = None
    scale_weight: str = ""
    weigh_inputs: bool = False
    activation: Setting | Clamp = Setting("hidden_act", "experts.act_fn", "silu")
    gated: bool = True
    experts: Layout = Stacked()
    checkpoint: Layout | None = Each()
    shared: Shared | None = None
    joined: Joined | None = None
    identity: Setting | None = None
    output_bias: str = ""
    count: str = "num_experts"
    width: str = "moe_intermediate_size"
    renamed: tuple[tuple[str, str], ...] = ()
    zero: tuple[Unread, ...] = ()
    says: tuple[tuple[str, object], ...] = ()
    ignores: tuple[str, ...] = ()
    returns: str = "one"
    files: bool = True
    note: str = ""


NOISE = (
    "it multiplies what gates and experts read in training, a layer's jitter what its gates read: set it to 0, and "
    "layer.router.jitter to what you want"
)
JITTER = (Unread(Setting("router_jitter_noise", "jitter_noise"), NOISE),)
ROUTER_TOP_K = Setting("num_experts_per_tok", "router.top_k")

QWEN = Architecture("Qwen3MoeSparseMoeBlock")
GATED_SHARED = Shared("shared_expert.", gate="shared_expert_gate.", width="shared_expert_intermediate_size")
QWEN_SHARED = replace(QWEN, block="Qwen2MoeSparseMoeBlock", shared=GATED_SHARED)
MIXTRAL = Architecture(
    "MixtralSparseMoeBlock",
    normalise=True,
    checkpoint=Each(NUMBERED),
    count="num_local_experts",
    width="intermediate_size",
    zero=JITTER,
)
GRANITE = Architecture(
    "GraniteMoeMoE",
    router="router.",
    top_k=ROUTER_TOP_K,
    normalise=True,
    checkpoint=Stacked("input_linear.weight", "output_linear.weight"),
    count="num_local_experts",
    width="intermediate_size",
    renamed=(("router.layer.", "router."),),
)
DEEPSEEK = Architecture(
    "DeepseekV3MoE",
    gate="sigmoid",
    correction=Correction(),
    groups=Groups(),
    normalise=Setting("norm_topk_prob", "gate.norm_topk_prob", True),
    scale=Setting("routed_scaling_factor", "gate.routed_scaling_factor", 1.0),
    shared=Shared("shared_experts.", width="n_shared_experts", times=True),
    count="n_routed_experts",
    says=(("scoring_func", "sigmoid"), ("topk_method", "noaux_tc")),
)
DEEPSEEK_V2 = replace(
    DEEPSEEK,
    block="DeepseekV2Moe",
    gate="softmax",
    correction=None,
    groups=Groups(best=1, closed=0.0, method=Setting("topk_method", "gate.topk_method", "greedy")),
    normalise=False,
    says=(("scoring_func", "softmax"),),
)
KIMI = replace(
    DEEPSEEK,
    top_k=Setting("num_experts_per_token", "gate.top_k"),
    normalise=Setting("moe_renormalize", "gate.norm_topk_prob", True),
    groups=Groups(Setting("num_expert_group", "gate.num_group")),
    shared=Shared("shared_experts.", width="num_shared_experts", times=True),
    count="num_experts",
)
ERNIE = Architecture(
    "Ernie4_5_MoeSparseMoeBlock",
    correction=Correction("gate.moe_statics.e_score_correction_bias", rows=True),
    top_k=Setting("moe_k", "gate.top_k"),
    normalise=True,
    shared=Shared("shared_experts.", width="moe_num_shared_experts", times=True, optional=True),
    count="moe_num_experts",
    renamed=(("moe_statics.", "gate.moe_statics."),),
)
HUNYUAN = Architecture(
    "HYV3MoE",
    gate="sigmoid",
    correction=Correction("e_score_correction_bias"),
    normalise=True,
    scale=Setting("router_scaling_factor", "gate.router_scaling_factor", 1.0),
    shared=Shared("shared_experts.", width="num_shared_experts", times=True),
    renamed=(("expert_bias", "e_score_correction_bias"), ("router.gate.", "gate."), ("shared_mlp.", "shared_experts.")),
)
SWIGLU_LIMIT = Clamp(Setting("swiglu_limit", "experts.swiglu_limit"))
CLAMPED = replace(
    DEEPSEEK,
    activation=SWIGLU_LIMIT,
    shared=Shared(
        "shared_experts.",
        activation=Clamp(Setting("swiglu_limit", "swiglu_limit")),
        width="n_shared_experts",
        times=True,
    ),
)
HUNYUAN_V4 = replace(
    DEEPSEEK,
    block="HYV4MoE",
    activation=SWIGLU_LIMIT,
    checkpoint=None,
    renamed=(("shared_experts.linear_gate.", "shared_experts.gate_proj."),),
)
OPEN_AI = Clamp(
    Setting("swiglu_limit", "experts.limit", 7.0), alpha=Setting("swiglu_alpha", "experts.alpha", 1.702), shift=1.0
)
GPT_OSS = Architecture(
    "GptOssMLP",
    router="router.",
    router_bias=True,
    top_k=ROUTER_TOP_K,
    normalise=True,
    activation=OPEN_AI,
    experts=Stacked(transposed=True, interleaved=True),
    checkpoint=None,
    count="num_local_experts",
    width="intermediate_size",
    returns="pair",
)
MINIMAX_M3 = Clamp(
    Setting("swiglu_limit", "experts.swiglu_limit", 7.0),
    alpha=Setting("swiglu_alpha", "experts.swiglu_alpha", 1.702),
    shift=1.0,
)
SOFT = Clamp(
    Setting("mlp_gate_softcap", "experts.act_fn.gate_softcap.softcap"),
    Setting("mlp_up_softcap", "experts.act_fn.up_softcap.softcap"),
    bound="soft",
)
INKLING_2 = Architecture(
    "Inkling2SparseMoeBlock",
    folder="inkling2",
    gate=Setting("scoring_func", "gate.score_fn", "sigmoid"),
    correction=Correction(),
    normalise=True,
    scale=Setting("route_scale", "gate.routed_scaling_factor", 1.0),
    activation=SOFT,
    count="n_routed_experts",
    files=False,
)

ARCHITECTURES: dict[str, Architecture] = {  # keys: model_type of the config that the block is built from
    "afmoe": Architecture(
        "AfmoeSparseMoeBlock",
        gate="sigmoid",
        router="router.gate.",
        correction=Correction("expert_bias"),
        top_k=ROUTER_TOP_K,
        normalise=True,
        scale=Setting("route_scale", "router.route_scale", 1.0),
        shared=Shared("shared_experts.", width="num_shared_experts", times=True),
    ),
    "aria_text": Architecture(
        "AriaTextMoELayer",
        router="router.",
        top_k=Setting("moe_topk", "router.top_k"),
        normalise=True,
        activation=Setting("", "experts.act_fn", "silu"),
        experts=Stacked(transposed=True),
        checkpoint=Stacked("experts.fc1.weight", "experts.fc2.weight", transposed=True),
        shared=Shared("shared_experts.", width="moe_num_shared_experts", times=True),
        count="moe_num_experts",
        width="intermediate_size",
    ),
    "axk2": replace(DEEPSEEK, block="AXK2MoE", groups=Groups(closed=0.0)),
    "bailing_hybrid": replace(
        KIMI, block="BailingHybridMoE", renamed=(("gate.expert_bias", "gate.e_score_correction_bias"),)
    ),
    "beam": replace(
        DEEPSEEK,
        block="BeamMoE",
        scale=Setting("routed_scaling_factor", "routed_scaling_factor", 1.0),
        shared=None,
        count="num_experts",
    ),
    "cohere2_moe": replace(
        QWEN,
        block="Cohere2MoeSparseMoeBlock",
        gate=Setting("expert_selection_fn", "gate.expert_selection_fn", "softmax"),
        normalise=Setting("norm_topk_prob", "gate.norm_topk_prob", True),
        shared=Shared(
            "shared_experts.",
            width="num_shared_experts",
            times=True,
            optional=True,
            average=Setting("shared_expert_combination_strategy", "shared_expert_combination_strategy", "average"),
        ),
        width="intermediate_size",
        note="softmax weights are always divided by their sum",
    ),
    "dbrx": Architecture(
        "DbrxFFN",
        router="router.layer.",
        top_k=Setting("moe_top_k", "top_k"),
        normalise=Setting("moe_normalize_expert_weights", "moe_normalize_expert_weights", 1.0),
        activation=Setting("", "experts.mlp.activation_fn", "silu"),
        experts=Flat(),
        checkpoint=None,
        count="moe_num_experts",
        width="ffn_hidden_size",
        zero=(Unread(Setting("moe_jitter_eps", "router.moe_jitter_eps"), NOISE),),
        note="its settings stand in ffn_config",
    ),
    "deepseek_ocr2_text": replace(DEEPSEEK_V2, block="DeepseekOcr2TextMoe"),
    "deepseek_v2": DEEPSEEK_V2,
    "deepseek_v3": DEEPSEEK,
    "deepseek_v32": replace(DEEPSEEK, block="DeepseekV32MoE"),
    "deepseek_v4": Architecture(
        "DeepseekV4SparseMoeBlock",
        gate=Setting("scoring_func", "gate.score_fn", "sqrtsoftplus"),
        correction=Correction(),
        normalise=True,
        scale=Setting("routed_scaling_factor", "gate.routed_scaling_factor", 1.0),
        activation=Clamp(Setting("swiglu_limit", "experts.limit", 10.0)),
        shared=Shared(
            "shared_experts.",
            activation=Clamp(Setting("swiglu_limit", "limit", 10.0)),
            width="n_shared_experts",
            times=True,
        ),
        count="n_routed_experts",
        zero=(Unread(Setting("", "is_hash"), "its experts are chosen by token ids, which a layer does not see"),),
        files=False,
        note="layers with the hash router choose by token ids and are refused",
    ),
    "dots1": replace(DEEPSEEK, block="Dots1MoE"),
    "dots3_note_text": replace(
        DEEPSEEK,
        block="Dots3NoteTextMoE",
        folder="dots3_note",
        checkpoint=None,
        shared=Shared("shared_experts.", width="shared_experts_intermediate_size"),
        files=False,
    ),
    "dots3_note_vision_encoder": replace(
        HUNYUAN, block="Dots3NoteVisionMoE", folder="dots3_note", shared=None, renamed=(), files=False
    ),
    "ernie4_5_moe": ERNIE,
    "ernie4_5_vl_moe_text": replace(
        ERNIE,
        block="Ernie4_5_VLMoeSparseMoeBlock",
        folder="ernie4_5_vl_moe",
        shared=None,
        returns="flat pair",
        files=False,
        note="text_moe and vision_moe of a block, each by itself",
    ),
    "exaone_moe": replace(
        DEEPSEEK,
        block="ExaoneMoeSparseMoEBlock",
        shared=Shared("shared_experts.", width="num_shared_experts", times=True),
        count="num_experts",
        renamed=(("e_score_correction_bias", "gate.e_score_correction_bias"),),
    ),
    "flex_olmo": replace(QWEN, block="FlexOlmoSparseMoeBlock", width="intermediate_size"),
    "flint": replace(
        QWEN,
        block="FlintSparseMoeBlock",
        gate="sigmoid",
        normalise=Setting("norm_topk_prob", "gate.norm_topk_prob", True),
        shared=Shared("shared_expert.", width="shared_expert_intermediate_size"),
    ),
    "glm4_moe": replace(DEEPSEEK, block="Glm4MoeMoE"),
    "glm4_moe_lite": replace(DEEPSEEK, block="Glm4MoeLiteMoE"),
    "glm4v_moe_text": replace(DEEPSEEK, block="Glm4vMoeTextMoE"),
    "glm5_next_text": replace(CLAMPED, block="Glm5NextTextMoE"),
    "glm_moe_dsa": replace(DEEPSEEK, block="GlmMoeDsaMoE"),
    "gpt_oss": GPT_OSS,
    "granitemoe": GRANITE,
    "granitemoe_swa": replace(GRANITE, block="GraniteMoeSWAMoE", checkpoint=None, renamed=()),
    "granitemoehybrid": replace(GRANITE, block="GraniteMoeHybridMoE"),
    "granitemoeshared": replace(GRANITE, block="GraniteMoeSharedMoE"),
    "hunyuan_v1_moe": Architecture(
        "HunYuanMoEV1Moe",
        router="gate.wg.",
        top_k=Setting("moe_topk", "gate.top_k"),
        normalise=True,
        shared=Shared("shared_mlp.", width="intermediate_size"),
        width="intermediate_size",
    ),
    "hy_v3": HUNYUAN,
    "hy_v4": HUNYUAN_V4,
    "hy_v4_vl_text": replace(HUNYUAN_V4, block="HYV4VLMoE"),
    "inkling2_loop_text": replace(INKLING_2, block="Inkling2LoopSparseMoeBlock", folder="inkling2_loop"),
    "inkling2_text": INKLING_2,
    "inkling_text": Architecture(
        "InklingMoE",
        gate="sigmoid",
        correction=Correction(),
        normalise=True,
        scale=Setting("route_scale", "gate.route_scale", 1.0),
        scale_weight="gate.global_scale",
        checkpoint=None,
        joined=Joined(
            tuple(f"shared_experts.{name}" for name in ("gate_proj", "up_proj", "down_proj")),  # type: ignore[arg-type]
            Setting("n_shared_experts", "gate.n_shared_experts"),
        ),
        count="n_routed_experts",
        files=False,
        note="shared experts are the last experts, chosen always: they share in the sum of the weights; the learned "
        "scale is held",
    ),
    "jamba": Architecture(
        "JambaSparseMoeBlock", router="router.", top_k=ROUTER_TOP_K, normalise=False, width="intermediate_size"
    ),
    "jetmoe": Architecture(
        "JetMoeMoE",
        router="router.layer.",
        top_k=ROUTER_TOP_K,
        normalise=True,
        activation=Setting("activation_function", "activation", "silu"),
        experts=Stacked("input_linear.weight", "output_linear.weight"),
        checkpoint=None,
        output_bias="bias",
        count="num_local_experts",
        width="intermediate_size",
        note="the bias of the output is that of a shared expert whose weights are held at zero",
    ),
    "kimi_linear": replace(KIMI, block="KimiLinearMoE", checkpoint=Each(NUMBERED)),
    "kolibri1": replace(
        QWEN,
        block="Kolibri1SparseMoeBlock",
        gate="sigmoid",
        correction=Correction(by="scores"),
        shared=Shared("shared_experts.", width="shared_expert_intermediate_size"),
        files=False,
    ),
    "laguna": replace(
        QWEN,
        block="LagunaSparseMoeBlock",
        gate="sigmoid",
        correction=Correction(),
        normalise=True,
        scale=Setting("moe_routed_scaling_factor", "routed_scaling_factor", 1.0),
        shared=Shared("shared_experts.", width="shared_expert_intermediate_size"),
        renamed=(
            ("experts.e_score_correction_bias", "gate.e_score_correction_bias"),
            ("shared_expert.", "shared_experts."),
        ),
        zero=(
            Unread(
                Setting("moe_router_logit_softcapping", "gate.router_logit_softcapping"),
                "it bounds the router's logits; the gates of this style do not",
            ),
        ),
    ),
    "lara_mini": replace(
        QWEN,
        block="LaraMiniSparseMoeBlock",
        checkpoint=None,
        shared=Shared("shared_expert.", width="shared_expert_intermediate_size"),
    ),
    "lfm2_moe": replace(
        QWEN,
        block="Lfm2MoeSparseMoeBlock",
        gate="sigmoid",
        correction=Correction("expert_bias", switch="use_expert_bias"),
        normalise=Setting("norm_topk_prob", "gate.norm_topk_prob", True),
        scale=Setting("routed_scaling_factor", "gate.routed_scaling_factor", 1.0),
        activation=Setting("", "experts.act_fn", "silu"),
        checkpoint=Each(NUMBERED),
        note="the block adds 1e-6 to the sum of the kept weights",
    ),
    "llama4_text": Architecture(
        "Llama4TextMoe",
        gate="sigmoid",
        router="router.",
        top_k=ROUTER_TOP_K,
        normalise=False,
        weigh_inputs=True,
        experts=Stacked(transposed=True),
        checkpoint=None,
        shared=Shared(
            "shared_expert.", activation=Setting("hidden_act", "activation_fn", "silu"), width="intermediate_size"
        ),
        count="num_local_experts",
        width="intermediate_size",
        returns="pair",
    ),
    "longcat_flash": Architecture(
        "LongcatFlashMoE",
        router="router.classifier.",
        correction=Correction("router.e_score_correction_bias"),
        top_k=Setting("moe_topk", "router.top_k"),
        normalise=False,
        scale=Setting("routed_scaling_factor", "router.routed_scaling_factor", 1.0),
        count="n_routed_experts",
        width="expert_ffn_hidden_size",
        identity=Setting("zero_expert_num", "experts.zero_expert_num", 0),
    ),
    "mellum": replace(QWEN, block="MellumSparseMoeBlock"),
    "mimo_v2_flash": replace(DEEPSEEK, block="MiMoV2FlashMoE", shared=None),
    "minimax": replace(MIXTRAL, block="MiniMaxSparseMoeBlock"),
    "minimax_m2": replace(
        MIXTRAL,
        block="MiniMaxM2SparseMoeBlock",
        gate="sigmoid",
        correction=Correction("e_score_correction_bias"),
        says=(("scoring_func", "sigmoid"),),
    ),
    "minimax_m3_vl_text": Architecture(
        "MiniMaxM3VLSparseMoeBlock",
        gate="sigmoid",
        correction=Correction(),
        normalise=True,
        scale=Setting("routed_scaling_factor", "routed_scaling_factor", 1.0),
        activation=MINIMAX_M3,
        shared=Shared(
            "shared_experts.",
            ("gate_up_proj", "down_proj"),
            activation=Clamp(
                Setting("swiglu_limit", "swiglu_limit", 7.0),
                alpha=Setting("swiglu_alpha", "swiglu_alpha", 1.702),
                shift=1.0,
            ),
            width="shared_intermediate_size",
        ),
        count="num_local_experts",
        width="intermediate_size",
        files=False,
    ),
    "mistral4": replace(
        DEEPSEEK,
        block="Mistral4MoE",
        gate="softmax",
        correction=None,
        groups=Groups(closed=0.0),
        checkpoint=None,
        says=(("scoring_func", "softmax"),),
    ),
    "mistral_large4_text": replace(
        DEEPSEEK,
        block="MistralLarge4TextMoE",
        gate="softmax",
        correction=None,
        groups=Groups(closed=0.0),
        normalise=True,
        checkpoint=Each(NUMBERED),
        says=(("scoring_func", "softmax"),),
    ),
    "mixtral": MIXTRAL,
    "nemotron_h": replace(
        DEEPSEEK,
        block="NemotronHMoE",
        activation=Setting("mlp_hidden_act", "experts.act_fn", "relu2"),
        gated=False,
        experts=Stacked("experts.up_proj"),
        checkpoint=None,
        shared=Shared(
            "shared_experts.",
            ("up_proj", "down_proj"),
            activation=Setting("mlp_hidden_act", "act_fn", "relu2"),
            width="moe_shared_expert_intermediate_size",
        ),
        zero=(
            Unread(
                Setting("moe_latent_size", "config.moe_latent_size"),
                "experts between projections to fewer features are not read",
            ),
        ),
        ignores=("n_shared_experts",),
        note="without latent projections only",
    ),
    "olmoe": replace(QWEN, block="OlmoeSparseMoeBlock", width="intermediate_size"),
    "openai_privacy_filter": replace(
        GPT_OSS, block="OpenAIPrivacyFilterMLP", experts=Stacked(transposed=True), files=False
    ),
    "qwen2_moe": QWEN_SHARED,
    "qwen3_5_moe_text": replace(QWEN_SHARED, block="Qwen3_5MoeSparseMoeBlock", normalise=True),
    "qwen3_moe": QWEN,
    "qwen3_next": replace(QWEN_SHARED, block="Qwen3NextSparseMoeBlock"),
    "qwen3_omni_moe_talker_text": replace(
        QWEN_SHARED, block="Qwen3OmniMoeTalkerTextSparseMoeBlock", folder="qwen3_omni_moe"
    ),
    "qwen3_omni_moe_text": replace(QWEN, block="Qwen3OmniMoeThinkerTextSparseMoeBlock"),
    "qwen3_vl_moe_text": replace(
        QWEN, block="Qwen3VLMoeTextSparseMoeBlock", normalise=True, checkpoint=Stacked(transposed=True)
    ),
    "qwen4_exp_text": replace(QWEN_SHARED, block="Qwen4ExpTextSparseMoeBlock"),
    "solar_open": replace(DEEPSEEK, block="SolarOpenMoE"),
    "step3p5": Architecture(
        "Step3p7SparseMoeBlock",
        folder="step3p7",
        gate="sigmoid",
        correction=Correction(),
        normalise=True,
        scale=Setting("moe_router_scaling_factor", "routed_scaling_factor", 1.0),
        activation=Clamp(Setting("", "experts.limit"), bound="after"),
        shared=Shared(
            "shared_experts.", activation=Clamp(Setting("", "limit"), bound="after"), width="share_expert_dim"
        ),
        files=False,
    ),
    "switch_transformers": Architecture(
        "SwitchTransformersSparseMLP",
        router="router.classifier.",
        router_bias=True,
        top_k=Setting("", "", 1),
        normalise=False,
        activation=Setting("dense_act_fn", "experts.expert_0.act", "relu"),
        gated=False,
        experts=Each(("wi", "wo"), "experts.expert_{}."),
        checkpoint=None,
        width="d_ff",
        zero=(Unread(Setting("router_jitter_noise", "router.jitter_noise"), NOISE),),
        note="drops no token: the block drops those beyond expert_capacity of a sequence; no dropout inside experts",
    ),
    "unlimited_ocr_text": replace(DEEPSEEK_V2, block="UnlimitedOcrTextMoe"),
}

REFUSED: dict[str, str] = {  # classes with experts that are not read, and why
    "AXK1MoE": "it normalises the sum of its experts: read block.experts and block.gate into a layer by hand, and keep "
    "its post_mlp_layernorm behind",
    "DbrxExperts": "it holds experts without a gate: give the DbrxFFN around it",
    "DiffusionGemmaDecoderTextLayer": "its router reads another tensor than its experts",
    "DiffusionGemmaEncoderTextLayer": "its router reads another tensor than its experts",
    "DogeCDMoE": "its experts are single rows of an embedding, found by product keys",
    "DogeDecoderLayer": "its experts are single rows of an embedding, found by product keys",
    "Ernie4_5_VLMoeMoeBlock": "it chooses between two mixtures by the kind of a token: give its text_moe or vision_moe",
    "Gemma4TextDecoderLayer": "its router reads another tensor than its experts",
    "JetMoeAttention": "its experts are projections of attention",
    "JetMoeMoA": "its experts are projections of attention",
    "MuseSparkMoE": "its experts work between projections and norms of their own",
    "NllbMoeSparseMLP": "how many tokens an expert serves, and which, depends on the batch and on chance",
    "PhimoeSparseMoeBlock": "its weights are softmaxes over the scores near the largest, one anew for every slot "
    "(SparseMixer, 2409.12136)",
    "VitPoseBackboneMoeMLP": "its experts are chosen by the data set of an image",
    "ZayaSparseMoeBlock": "its router is a network that carries a state from layer to layer",
}
BLOCKS: dict[str, str] = {row.block: name for name, row in ARCHITECTURES.items()}


def architecture(name: str) -> Architecture:
    """Return the row of a model type."""
    return look_up("style", name, ARCHITECTURES)
