//! How many concurrency units a model holds.
//!
//! The catalogue names the cost. Where it does not, the cost follows from the size in the model's
//! class or name, by Featherless's published table: up to 15B one unit, 24B to 34B two, 70B and
//! more four. A size between two rows costs as much as the larger one.

/// The cost of a model that nothing is known about. It is the greatest cost in the table: with too
/// high an estimate a request waits, with too low an estimate upstream refuses it.
pub const UNKNOWN_MODEL_COST: u32 = 4;

/// The largest number of billions of parameters for each cost; above the last size,
/// [`UNKNOWN_MODEL_COST`].
const SIZES: [(f64, u32); 2] = [(15.0, 1), (34.0, 2)];

/// The costs of models whose names have no size. If the name has a size, the size decides: a
/// distilled model is small, but has the name of a large one.
const NAMES: [(&str, u32); 7] = [
    ("deepseek-r1", 4),
    ("deepseek-v3", 4),
    ("kimi-k2", 4),
    ("kimi-k3", 4),
    ("mistral-nemo", 1),
    ("mistral-small", 2),
    ("phi-4", 1),
];

/// The units that a request to the model `id` holds: `concurrency_cost` of the catalogue, or the
/// cost that follows from `model_class`, or from `id`. `None` if nothing is known.
pub fn cost_of(concurrency_cost: Option<u32>, model_class: Option<&str>, id: &str) -> Option<u32> {
    let name = id.rsplit('/').next().unwrap_or(id);
    let in_catalogue = concurrency_cost.filter(|&cost| cost > 0);
    in_catalogue
        .or_else(|| model_class.and_then(cost_by_name))
        .or_else(|| cost_by_name(name))
}

fn cost_by_name(name: &str) -> Option<u32> {
    let name = name.to_ascii_lowercase();
    let billions = name
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '.')
        .filter_map(billions);
    // A model merged from several others is as large as the largest of them.
    if let Some(largest) = billions.reduce(f64::max) {
        let row = SIZES.iter().find(|(most, _)| largest <= *most);
        return Some(row.map_or(UNKNOWN_MODEL_COST, |&(_, cost)| cost));
    }
    NAMES
        .iter()
        .find(|(part, _)| name.contains(part))
        .map(|&(_, cost)| cost)
}

/// The billions of parameters in a word of a name, such as `8b`, `0.5b`, `135m`, `8x22b` or `e4b`.
/// Not `a22b`, the number of active parameters, and not `16k` or `1m`, which are context lengths.
fn billions(word: &str) -> Option<f64> {
    let word = word.strip_prefix('e').unwrap_or(word);
    if let Some(millions) = word.strip_suffix('m') {
        return number(millions)
            .filter(|&millions| millions >= 10.0)
            .map(|millions| millions / 1000.0);
    }
    let word = word.strip_suffix('b')?;
    match word.split_once('x') {
        Some((experts, each)) => Some(number(experts)? * number(each)?),
        None => number(word),
    }
}

/// Parses digits and points only. Rust's parser also accepts words such as `inf`.
fn number(text: &str) -> Option<f64> {
    let is_number = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    if is_number { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_decides_first_and_the_class_second() {
        assert_eq!(
            cost_of(Some(2), Some("llama3-8b-8k"), "x/Llama-3-70B"),
            Some(2)
        );
        assert_eq!(
            cost_of(None, Some("llama3-8b-8k"), "x/Llama-3-70B"),
            Some(1)
        );
        assert_eq!(cost_of(None, Some("something"), "x/Llama-3-70B"), Some(4));
        assert_eq!(
            cost_of(Some(0), None, "x/Llama-3-8B"),
            Some(1),
            "no model is free"
        );
        assert_eq!(cost_of(None, None, "x/something"), None);
        assert_eq!(cost_of(None, None, ""), None);
    }

    #[test]
    fn names_contain_sizes() {
        for (name, cost) in [
            ("llama3-8b-8k", 1),
            ("v2.1-7b-16k-context", 1),
            ("Qwen2.5-72B-Instruct", 4),
            ("Qwen2.5-0.5B", 1),
            ("qwen2-1.5b-instruct", 1),
            ("Qwen2.5-7B-Instruct-1M", 1),
            ("SmolLM2-135M", 1),
            ("gemma-3-12b-it", 1),
            ("gemma-3n-E4B-it", 1),
            ("phi-4", 1),
            ("Phi-4-mini-instruct", 1),
            ("Mistral-Nemo-Instruct-2407", 1),
            ("starcoder2-15b", 1),
            ("gpt-oss-20b", 2),
            ("Mistral-Small-3.1-24B", 2),
            ("Mistral-Small-Instruct-2409", 2),
            ("gemma-3-27b-it", 2),
            ("Qwen3-30B-A3B", 2),
            ("Yi-34B", 2),
            ("QwQ-32B-4bit", 2),
            ("c4ai-command-r-35b", 4),
            ("Mixtral-8x7B-Instruct-v0.1", 4),
            ("Mixtral-8x22B", 4),
            ("Llama-3.1-Nemotron-70B", 4),
            ("Llama-3.1-405B", 4),
            ("Qwen3-235B-A22B", 4),
            ("DeepSeek-R1-Distill-Llama-8B", 1),
            ("DeepSeek-R1-Distill-Qwen-32B", 2),
            ("DeepSeek-R1", 4),
            ("DeepSeek-V3-0324", 4),
            ("Kimi-K2-Instruct", 4),
            ("merge-of-8B-and-70B", 4),
        ] {
            assert_eq!(
                cost_of(None, None, &format!("7b-lab/{name}")),
                Some(cost),
                "{name}"
            );
            assert_eq!(
                cost_of(None, Some(name), "x/y"),
                Some(cost),
                "{name} as a class"
            );
        }
        assert_eq!(cost_of(None, None, "x/infb-nanb"), None);
    }
}
