//! What the emulator says about one model, and the models it has by name.

use serde::Serialize;

use super::faults::FAULTS;

/// One entry of the catalogue, as `GET /v1/models` shows it.
#[derive(Clone, Serialize)]
pub struct Model {
    pub id: String,
    pub name: String,
    pub object: &'static str,
    pub created: i64,
    pub owned_by: String,
    pub model_class: &'static str,
    pub context_length: usize,
    pub max_completion_tokens: usize,
    pub is_gated: bool,
    pub concurrency_cost: u32,
    pub pricing: Pricing,
    pub features: Features,
    pub status: &'static str,
    pub availability: Availability,
    pub parameter_size: u64,
    pub is_moe: bool,
    pub active_parameters: u64,
    pub vision_supported: bool,
    /// Shown only to callers who are signed in.
    #[serde(skip)]
    pub is_on_plan: bool,
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

#[derive(Clone, Serialize)]
pub struct Availability {
    pub tier: &'static str,
    pub is_hot_live: bool,
}

/// A base model: all that its fine-tunes have in common.
#[derive(Clone, Copy)]
pub struct Base {
    pub class: &'static str,
    pub context_length: usize,
    /// In millions.
    pub parameters_m: u64,
    /// In millions; differs from the whole in a mixture of experts.
    pub active_m: u64,
    pub has_tools: bool,
    pub has_vision: bool,
}

const COMPLETION_TOKENS_MAX: usize = 4096;

impl Model {
    pub fn new(id: String, base: Base, created: i64) -> Self {
        let (org, name) = id.split_once('/').unwrap_or(("", &id));
        Self {
            name: name.to_owned(),
            object: "model",
            created,
            owned_by: org.to_owned(),
            model_class: base.class,
            context_length: base.context_length,
            max_completion_tokens: COMPLETION_TOKENS_MAX.min(base.context_length),
            is_gated: matches!(org, "meta-llama" | "google"),
            concurrency_cost: cost_units(base.parameters_m),
            pricing: Pricing {
                prompt: "0.0000001",
                completion: "0.0000001",
                image: "0",
                request: "0",
                input: 0.1,
                output: 0.1,
            },
            features: Features { tool_use: base.has_tools, image_input: base.has_vision },
            status: "active",
            availability: Availability { tier: "warm", is_hot_live: true },
            parameter_size: base.parameters_m * 1_000_000,
            is_moe: base.active_m != base.parameters_m,
            active_parameters: base.active_m * 1_000_000,
            vision_supported: base.has_vision,
            is_on_plan: true,
            id,
        }
    }
}

/// The published table: up to 15B one unit, up to the 30s two, larger four.
fn cost_units(parameters_m: u64) -> u32 {
    match parameters_m {
        0..=15_999 => 1,
        16_000..=49_999 => 2,
        _ => 4,
    }
}

const fn dense(class: &'static str, context_length: usize, parameters_m: u64, has_tools: bool) -> Base {
    Base { class, context_length, parameters_m, active_m: parameters_m, has_tools, has_vision: false }
}

const fn experts(base: Base, active_m: u64) -> Base {
    Base { active_m, ..base }
}

/// The models every emulator has.
const SEEDS: &[(&str, Base, i64)] = &[
    ("meta-llama/Meta-Llama-3.1-8B-Instruct", dense("llama31-8b-16k", 131_072, 8_030, true), 1_721_692_800),
    ("meta-llama/Meta-Llama-3.1-70B-Instruct", dense("llama31-70b-16k", 131_072, 70_554, true), 1_721_692_800),
    ("meta-llama/Meta-Llama-3.1-405B-Instruct", dense("llama31-405b", 131_072, 405_853, true), 1_721_692_800),
    ("meta-llama/Llama-2-7b-chat-hf", dense("llama2-7b-4k", 4_096, 6_738, false), 1_689_638_400),
    ("meta-llama/Llama-2-13b-chat-hf", dense("llama2-13b-4k", 4_096, 13_016, false), 1_689_638_400),
    ("meta-llama/Llama-2-70b-chat-hf", dense("llama2-70b-4k", 4_096, 68_977, false), 1_689_638_400),
    ("mistralai/Mistral-7B-Instruct-v0.2", dense("mistral-v02-7b", 32_768, 7_242, false), 1_702_252_800),
    (
        "mistralai/Mixtral-8x7B-Instruct-v0.1",
        experts(dense("mixtral-8x7b", 32_768, 46_703, false), 12_879),
        1_702_252_800,
    ),
    (
        "mistralai/Mixtral-8x22B-Instruct-v0.1",
        experts(dense("mixtral-8x22b", 65_536, 140_630, true), 39_150),
        1_713_225_600,
    ),
    ("Qwen/Qwen2.5-72B-Instruct", dense("qwen25-72b", 32_768, 72_706, true), 1_726_704_000),
    ("Qwen/Qwen2.5-Coder-32B-Instruct", dense("qwen25-32b", 32_768, 32_764, true), 1_731_369_600),
    ("google/gemma-2-9b-it", dense("gemma2-9b-8k", 8_192, 9_242, false), 1_719_446_400),
    ("google/gemma-2-27b-it", dense("gemma2-27b-8k", 8_192, 27_227, false), 1_719_446_400),
];

pub fn seeds() -> impl Iterator<Item = Model> {
    let new = |(id, base, created): &(&str, Base, i64)| Model::new((*id).to_owned(), *base, *created);
    SEEDS.iter().map(new)
}

/// The models whose names are faults: known by id, never listed.
pub fn spoilt() -> impl Iterator<Item = Model> {
    const BASE: Base = dense("emulator", 32_768, 8_000, true);
    FAULTS.iter().map(|fault| Model::new(fault.model.to_owned(), BASE, 1_735_689_600))
}
