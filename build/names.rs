//! Names of the contract in the cases that Rust has for them.

/// The name of a field in Rust.
pub fn rust_name(field: &str) -> String {
    if field == "type" {
        "r#type".to_owned()
    } else {
        field.to_owned()
    }
}

/// `ChatChoice` of `chat_choice`.
pub fn camel(snake: &str) -> String {
    snake
        .split('_')
        .map(|word| word[..1].to_uppercase() + &word[1..])
        .collect()
}

/// `chat_choice` of `ChatChoice`.
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
