//! The comments on the elements of the contract.

use std::collections::BTreeMap;

use prost_types::FileDescriptorSet;

/// Comments by the name of their element: `Service`, `Service.Method`, `Message`, `Message.field`,
/// `Message.oneof`, `Enum`.
pub struct Comments(BTreeMap<String, String>);

impl Comments {
    pub fn of(contract: &FileDescriptorSet) -> Self {
        let mut comments = BTreeMap::new();
        for file in &contract.file {
            let source = file
                .source_code_info
                .as_ref()
                .expect("compiled with source information");
            for location in &source.location {
                // The numbers are field numbers of descriptor.proto.
                let at = |index: i32| usize::try_from(index).unwrap();
                let name = match *location.path.as_slice() {
                    [4, message] => file.message_type[at(message)].name().to_owned(),
                    [4, message, 2, field] => {
                        let message = &file.message_type[at(message)];
                        format!("{}.{}", message.name(), message.field[at(field)].name())
                    }
                    [4, message, 8, oneof] => {
                        let message = &file.message_type[at(message)];
                        format!(
                            "{}.{}",
                            message.name(),
                            message.oneof_decl[at(oneof)].name()
                        )
                    }
                    [5, kind] => file.enum_type[at(kind)].name().to_owned(),
                    [6, service] => file.service[at(service)].name().to_owned(),
                    [6, service, 2, method] => {
                        let service = &file.service[at(service)];
                        format!("{}.{}", service.name(), service.method[at(method)].name())
                    }
                    _ => continue,
                };
                comments.insert(name, join_lines(location.leading_comments()));
            }
        }
        Self(comments)
    }

    /// The comment on the element `name`. Every element has one.
    pub fn on(&self, name: &str) -> &str {
        self.0
            .get(name)
            .filter(|comment| !comment.is_empty())
            .unwrap_or_else(|| panic!("{name} has no comment"))
    }
}

/// The text of `comment` without line breaks. An empty line still separates paragraphs.
fn join_lines(comment: &str) -> String {
    let mut text = String::new();
    for line in comment.lines().map(str::trim) {
        if line.is_empty() {
            text.push_str("\n\n");
        } else {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push(' ');
            }
            text.push_str(line);
        }
    }
    text.trim().to_owned()
}
