//! Converts names of the contract to Rust names.

/// The Rust name of a field.
pub fn rust_name(field: &str) -> String {
    if field == "type" {
        "r#type".to_owned()
    } else {
        field.to_owned()
    }
}

/// `chat_choice` as `ChatChoice`.
pub fn camel(snake: &str) -> String {
    snake
        .split('_')
        .map(|word| word[..1].to_uppercase() + &word[1..])
        .collect()
}

/// `ChatChoice` as `chat_choice`.
pub fn snake(camel: &str) -> String {
    let mut name = String::new();
    for letter in camel.chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(letter.to_lowercase());
    }
    name
}
