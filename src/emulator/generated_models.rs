//! Generated models: invented fine-tunes with realistic names, for a catalogue of the real size.

use super::models::{Base, Model, Readiness, dense};
use super::seeded_rng::{self, SeededRng};

const ORGS: &[&str] = &[
    "NorthwindLabs",
    "paperclip-ai",
    "MoonlitMerge",
    "quietriver",
    "TeaHouse-LLM",
    "GraniteFox",
    "open-orchard",
    "SableSystems",
    "tinkerbird",
    "DeepHarbor",
    "VelvetTensor",
    "ashen-oak",
    "kelp-forest",
    "RustyAnvil",
    "lumenwrite",
    "BrightFjord",
    "copper-kettle",
    "NightOwlNLP",
    "salt-and-silicon",
    "WanderingGradient",
];

const FLAVOURS: &[&str] = &[
    "Stheno",
    "Lumina",
    "Hermit",
    "Roleplay",
    "Coder",
    "Instruct-DPO",
    "Abliterated",
    "Story",
    "Reasoner",
    "Medical",
    "Nordic",
    "Uncensored",
    "Merge-Slerp",
    "Chat-ORPO",
    "Cosmos",
    "Teacher",
    "Lawyer",
    "Poet",
    "SQL",
    "Translate",
];

/// The name of each base model in ids, and the base model.
const BASES: &[(&str, Base)] = &[
    ("Llama-3.1-8B", base("llama31-8b-16k", 16_384, 8_030)),
    ("Mistral-7B", base("mistral-v02-7b", 32_768, 7_242)),
    ("Mistral-Nemo-12B", base("mistral-nemo-12b", 32_768, 12_248)),
    ("Qwen2.5-7B", base("qwen25-7b", 32_768, 7_616)),
    ("Qwen2.5-14B", base("qwen25-14b", 32_768, 14_770)),
    ("Qwen2.5-32B", base("qwen25-32b", 32_768, 32_764)),
    ("Qwen2.5-72B", base("qwen25-72b", 32_768, 72_706)),
    ("Llama-3.3-70B", base("llama33-70b-16k", 16_384, 70_554)),
    ("gemma-2-9b", base("gemma2-9b-8k", 8_192, 9_242)),
    (
        "gemma-3-27b",
        Base {
            has_vision: true,
            ..base("gemma3-27b", 32_768, 27_432)
        },
    ),
    (
        "Mistral-Small-24B",
        base("mistral-24b-2501", 32_768, 23_572),
    ),
];

const fn base(class: &'static str, context_length: usize, parameters_m: u64) -> Base {
    dense(class, context_length, parameters_m, true)
}

const FIRST_CREATED_UNIX_S: i64 = 1_690_000_000;
const CREATED_SPAN_S: usize = 60_000_000;

pub fn models(count: usize, seed: u64) -> impl Iterator<Item = Model> {
    (0..count).filter_map(move |index| model(index, seed))
}

/// The model number `index`. Organisation, base and flavour are the digits of this number, and the
/// version is the rest, so that every number has a different id.
fn model(index: usize, seed: u64) -> Option<Model> {
    let mut rng = SeededRng::new(seeded_rng::fingerprint(&[
        &seed.to_le_bytes(),
        &index.to_le_bytes(),
    ]));
    let (rest, org) = digit(index, ORGS)?;
    let (rest, (stem, base)) = digit(rest, BASES)?;
    let (rest, flavour) = digit(rest, FLAVOURS)?;
    let id = format!("{org}/{stem}-{flavour}-v{}.{}", rest + 1, rng.below(10));
    let created = FIRST_CREATED_UNIX_S + rng.below(CREATED_SPAN_S) as i64;

    let mut model = Model::new(id, *base, created);
    model.is_gated = rng.below(50) == 0;
    model.has_licence = !model.is_gated;
    model.is_on_plan = rng.below(40) != 0;
    if rng.below(5) != 0 {
        model.readiness = if rng.below(2) == 0 {
            Readiness::Warm
        } else {
            Readiness::Cold
        };
    }
    vary(&mut model, &mut rng);
    Some(model)
}

/// Varies optional members, because the entries of the real catalogue differ in them.
fn vary(model: &mut Model, rng: &mut SeededRng) {
    model.max_completion_tokens = match rng.below(4) {
        0 => None,
        1 => Some(model.context_length),
        2 => Some(model.context_length / 4),
        _ => model.max_completion_tokens,
    };
    if rng.below(7) == 0 {
        model.pricing = None;
    }
    model.status = match rng.below(20) {
        0 => None,
        1 => Some("deprecated"),
        _ => model.status,
    };
    if model.readiness == Readiness::Warm && rng.below(10) == 0 {
        model.readiness = Readiness::Undisclosed;
    }
}

fn digit<T>(number: usize, digits: &[T]) -> Option<(usize, &T)> {
    let found = digits.get(number % digits.len())?;
    Some((number / digits.len(), found))
}
