//! The catalogue entry of a model, and the built-in models.

use serde::Serialize;

use super::faults::FaultId;
use super::refusal::Refusal;

/// One entry of the catalogue, as `GET /v1/models` shows it, without the members that depend on the
/// caller or on the time.
#[derive(Clone, Serialize)]
pub struct Model {
    pub id: String,
    pub name: String,
    pub object: &'static str,
    pub created: i64,
    pub owned_by: String,
    pub model_class: &'static str,
    pub context_length: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_completion_tokens: Option<usize>,
    pub is_gated: bool,
    pub concurrency_cost: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pricing: Option<Pricing>,
    pub features: Features,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<&'static str>,
    pub parameter_size: u64,
    pub is_moe: bool,
    pub active_parameters: u64,
    pub vision_supported: bool,
    /// Shown only to callers with a key.
    #[serde(skip)]
    pub is_on_plan: bool,
    /// Whether the account has accepted the model's licence. Gated models require this.
    #[serde(skip)]
    pub has_licence: bool,
    #[serde(skip)]
    pub readiness: Readiness,
    #[serde(skip)]
    pub purpose: Purpose,
}

#[derive(Clone, Serialize)]
pub struct Pricing {
    pub prompt: &'static str,
    pub completion: &'static str,
    pub image: &'static str,
    pub request: &'static str,
    pub input: f64,
    pub output: f64,
}

#[derive(Clone, Serialize)]
pub struct Features {
    pub tool_use: bool,
    pub image_input: bool,
}

/// Whether a model is loaded when the emulator starts.
#[derive(Clone, Copy, PartialEq)]
pub enum Readiness {
    Hot,
    Warm,
    /// Warm, but the catalogue does not show it.
    Undisclosed,
    /// The first request starts to load it.
    Cold,
}

/// The endpoints that a model supports.
#[derive(Clone, Copy, PartialEq)]
pub enum Purpose {
    Text,
    /// Embeddings with this number of dimensions.
    Embeddings(usize),
    /// Text and embeddings, for models that are faults.
    Anything,
}

/// A base model: the properties that its fine-tunes share.
#[derive(Clone, Copy)]
pub struct Base {
    pub class: &'static str,
    pub context_length: usize,
    pub completion_tokens_max: Option<usize>,
    /// In millions.
    pub parameters_m: u64,
    /// In millions. Smaller than `parameters_m` in a mixture of experts.
    pub active_m: u64,
    pub has_tools: bool,
    pub has_vision: bool,
    pub purpose: Purpose,
}

const COMPLETION_TOKENS_MAX: usize = 4096;
/// The dimensions of the embeddings of models that are faults.
const FAULT_MODEL_DIMENSIONS: usize = 384;

impl Model {
    pub fn new(id: String, base: Base, created: i64) -> Self {
        let (org, name) = id.split_once('/').unwrap_or(("", &id));
        let concurrency_cost = cost_units(base.parameters_m);
        Self {
            name: name.to_owned(),
            object: "model",
            created,
            owned_by: org.to_owned(),
            model_class: base.class,
            context_length: base.context_length,
            max_completion_tokens: base
                .completion_tokens_max
                .map(|max| max.min(base.context_length)),
            is_gated: matches!(org, "meta-llama" | "google"),
            concurrency_cost,
            pricing: Some(Pricing::of(concurrency_cost)),
            features: Features {
                tool_use: base.has_tools,
                image_input: base.has_vision,
            },
            status: Some("active"),
            parameter_size: base.parameters_m * 1_000_000,
            is_moe: base.active_m != base.parameters_m,
            active_parameters: base.active_m * 1_000_000,
            vision_supported: base.has_vision,
            is_on_plan: true,
            has_licence: true,
            readiness: Readiness::Hot,
            purpose: base.purpose,
            id,
        }
    }

    /// The length limit of an answer: `max_completion_tokens`, or the context length if the entry
    /// has none.
    pub fn answer_tokens_max(&self) -> usize {
        self.max_completion_tokens.unwrap_or(self.context_length)
    }

    pub fn dimensions(&self) -> usize {
        match self.purpose {
            Purpose::Embeddings(dimensions) => dimensions,
            Purpose::Text | Purpose::Anything => FAULT_MODEL_DIMENSIONS,
        }
    }

    pub fn check_generates_text(&self) -> Result<(), Refusal> {
        match self.purpose {
            Purpose::Embeddings(_) => Err(Refusal::only_embeddings(&self.id)),
            Purpose::Text | Purpose::Anything => Ok(()),
        }
    }

    pub fn check_makes_embeddings(&self) -> Result<(), Refusal> {
        match self.purpose {
            Purpose::Text => Err(Refusal::no_embeddings(&self.id)),
            Purpose::Embeddings(_) | Purpose::Anything => Ok(()),
        }
    }

    pub fn check_accepts_images(&self) -> Result<(), Refusal> {
        if self.features.image_input {
            Ok(())
        } else {
            Err(Refusal::no_images(&self.id))
        }
    }
}

impl Pricing {
    /// The price of a model that costs `cost_units`: per token as text, per million tokens as
    /// numbers.
    fn of(cost_units: u32) -> Self {
        let (token, million) = match cost_units {
            1 => ("0.0000001", 0.1),
            2 => ("0.0000002", 0.2),
            _ => ("0.0000004", 0.4),
        };
        Self {
            prompt: token,
            completion: token,
            image: "0",
            request: "0",
            input: million,
            output: million,
        }
    }
}

/// The published table: 1 unit for fewer than 16B parameters, 2 units for fewer than 50B, and 4
/// units for larger models.
fn cost_units(parameters_m: u64) -> u32 {
    match parameters_m {
        0..=15_999 => 1,
        16_000..=49_999 => 2,
        _ => 4,
    }
}

pub const fn dense(
    class: &'static str,
    context_length: usize,
    parameters_m: u64,
    has_tools: bool,
) -> Base {
    Base {
        class,
        context_length,
        completion_tokens_max: Some(COMPLETION_TOKENS_MAX),
        parameters_m,
        active_m: parameters_m,
        has_tools,
        has_vision: false,
        purpose: Purpose::Text,
    }
}

const fn with_vision(base: Base) -> Base {
    Base {
        has_vision: true,
        ..base
    }
}

/// An embedding model with `dimensions`.
const fn with_embeddings(base: Base, dimensions: usize) -> Base {
    Base {
        purpose: Purpose::Embeddings(dimensions),
        completion_tokens_max: None,
        ..base
    }
}

/// A model whose entry has no `max_completion_tokens`.
const fn without_output_limit(base: Base) -> Base {
    Base {
        completion_tokens_max: None,
        ..base
    }
}

const fn mixture_of_experts(base: Base, active_m: u64) -> Base {
    Base { active_m, ..base }
}

/// The built-in models.
const SEEDS: &[(&str, Base, i64)] = &[
    (
        "meta-llama/Meta-Llama-3.1-8B-Instruct",
        dense("llama31-8b-16k", 16_384, 8_030, true),
        1_721_692_800,
    ),
    (
        "meta-llama/Meta-Llama-3.1-70B-Instruct",
        dense("llama31-70b-16k", 16_384, 70_554, true),
        1_721_692_800,
    ),
    (
        "meta-llama/Meta-Llama-3.1-405B-Instruct",
        dense("llama31-405b", 131_072, 405_853, true),
        1_721_692_800,
    ),
    (
        "meta-llama/Llama-2-7b-chat-hf",
        dense("llama2-7b-4k", 4_096, 6_738, false),
        1_689_638_400,
    ),
    (
        "meta-llama/Llama-2-13b-chat-hf",
        dense("llama2-13b-4k", 4_096, 13_016, false),
        1_689_638_400,
    ),
    (
        "meta-llama/Llama-2-70b-chat-hf",
        dense("llama2-70b-4k", 4_096, 68_977, false),
        1_689_638_400,
    ),
    (
        "mistralai/Mistral-7B-Instruct-v0.2",
        without_output_limit(dense("mistral-v02-7b", 32_768, 7_242, false)),
        1_702_252_800,
    ),
    (
        "mistralai/Mixtral-8x7B-Instruct-v0.1",
        without_output_limit(mixture_of_experts(
            dense("mixtral-8x7b", 32_768, 46_703, false),
            12_879,
        )),
        1_702_252_800,
    ),
    (
        "mistralai/Mixtral-8x22B-Instruct-v0.1",
        mixture_of_experts(dense("mixtral-8x22b", 65_536, 140_630, true), 39_150),
        1_713_225_600,
    ),
    (
        "Qwen/Qwen2.5-72B-Instruct",
        dense("qwen25-72b", 32_768, 72_706, true),
        1_726_704_000,
    ),
    (
        "Qwen/Qwen2.5-Coder-32B-Instruct",
        dense("qwen25-32b", 32_768, 32_764, true),
        1_731_369_600,
    ),
    (
        "google/gemma-2-9b-it",
        dense("gemma2-9b-8k", 8_192, 9_242, false),
        1_719_446_400,
    ),
    (
        "google/gemma-2-27b-it",
        dense("gemma2-27b-8k", 8_192, 27_227, false),
        1_719_446_400,
    ),
    (
        "deepseek-ai/DeepSeek-V3-0324",
        mixture_of_experts(dense("deepseek-v3", 32_768, 684_531, true), 37_000),
        1_742_774_400,
    ),
    (
        "moonshotai/Kimi-K2-Instruct",
        mixture_of_experts(dense("kimi-k2", 32_768, 1_026_470, true), 32_000),
        1_752_192_000,
    ),
    (
        "Qwen/Qwen2.5-VL-72B-Instruct",
        with_vision(dense("qwen25-vl-72b", 32_768, 73_411, false)),
        1_737_936_000,
    ),
    (
        "google/gemma-3-27b-it",
        with_vision(without_output_limit(dense(
            "gemma3-27b",
            32_768,
            27_432,
            true,
        ))),
        1_741_737_600,
    ),
    (
        "Qwen/Qwen3-Embedding-8B",
        with_embeddings(dense("qwen3-embedding-8b", 32_768, 7_568, false), 4096),
        1_748_908_800,
    ),
    (
        "Qwen/Qwen3-Embedding-0.6B",
        with_embeddings(dense("qwen3-embedding-0.6b", 32_768, 596, false), 1024),
        1_748_908_800,
    ),
    (
        "BAAI/bge-m3",
        with_embeddings(dense("bge-m3", 8_192, 568, false), 1024),
        1_706_313_600,
    ),
];

pub fn seeds() -> impl Iterator<Item = Model> {
    let new =
        |(id, base, created): &(&str, Base, i64)| Model::new((*id).to_owned(), *base, *created);
    SEEDS.iter().map(new)
}

/// The model for `id`, if `id` names a fault. Such models are found by id, but not listed.
pub fn fault_model(id: &str) -> Option<Model> {
    const BASE: Base = Base {
        purpose: Purpose::Anything,
        has_vision: true,
        ..dense("emulator", 32_768, 8_000, true)
    };
    FaultId::read(id).map(|_| Model::new(id.to_owned(), BASE, 1_735_689_600))
}
