//! Finds files by their names, by the symbols that they declare, and by the extensions in them.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto};

use crate::error::{Error, Result};
use crate::grpc::descriptor_set::File;

/// The index, built once.
#[derive(Debug)]
pub(super) struct Index {
    /// The response for each file: the file and all its dependencies, each once.
    answers: Vec<Vec<Bytes>>,
    /// The number of the file with this name.
    names: HashMap<String, usize>,
    /// The number of the file that declares this symbol.
    symbols: HashMap<String, usize>,
    /// For each message: the numbers of its extensions, each with the number of the file that
    /// declares it.
    extensions: HashMap<String, BTreeMap<i32, usize>>,
    services: Vec<String>,
}

impl Index {
    /// An index of `files`.
    ///
    /// # Errors
    /// [`Kind::Internal`](crate::error::Kind::Internal) if a file depends on one that is not among
    /// them.
    pub(super) fn new(files: &[File]) -> Result<Self> {
        let names: HashMap<_, _> = (0..)
            .zip(files)
            .map(|(number, file)| (file.proto.name().to_owned(), number))
            .collect();
        let mut index = Self {
            answers: Vec::new(),
            names,
            symbols: HashMap::new(),
            extensions: HashMap::new(),
            services: Vec::new(),
        };
        for (number, file) in files.iter().enumerate() {
            let answer = index.with_dependencies(number, files)?;
            index.answers.push(answer);
            index.add(number, file);
        }
        index.services.sort();
        Ok(index)
    }

    /// The file with this name and its dependencies.
    pub(super) fn file(&self, name: &str) -> Option<&[Bytes]> {
        self.answer(*self.names.get(name)?)
    }

    /// The file that declares this symbol, and its dependencies. Symbols are services, methods,
    /// messages, fields, oneofs, enums, enum values and extensions, by their full names.
    pub(super) fn symbol(&self, name: &str) -> Option<&[Bytes]> {
        self.answer(*self.symbols.get(name)?)
    }

    /// The file that declares this extension of a message, and its dependencies.
    pub(super) fn extension(&self, message: &str, number: i32) -> Option<&[Bytes]> {
        self.answer(*self.extensions.get(message)?.get(&number)?)
    }

    /// The numbers of a message's extensions, in order. `None` if the message does not exist.
    pub(super) fn extensions(&self, message: &str) -> Option<impl Iterator<Item = i32>> {
        Some(self.extensions.get(message)?.keys().copied())
    }

    /// The full names of all services, in order.
    pub(super) fn services(&self) -> &[String] {
        &self.services
    }

    fn answer(&self, number: usize) -> Option<&[Bytes]> {
        self.answers.get(number).map(Vec::as_slice)
    }

    /// A file and its dependencies. The requested file comes first.
    fn with_dependencies(&self, number: usize, files: &[File]) -> Result<Vec<Bytes>> {
        let mut numbers = vec![number];
        let mut entries = Vec::new();
        while let Some(file) = numbers
            .get(entries.len())
            .and_then(|number| files.get(*number))
        {
            for name in &file.proto.dependency {
                let number = self.names.get(name).copied();
                let number =
                    number.ok_or_else(|| Error::internal(format!("no descriptor of {name}")))?;
                if !numbers.contains(&number) {
                    numbers.push(number);
                }
            }
            entries.push(file.entry.clone());
        }
        Ok(entries)
    }

    fn add(&mut self, number: usize, file: &File) {
        let package = file.proto.package();
        for message in &file.proto.message_type {
            self.add_message(number, package, message);
        }
        for values in &file.proto.enum_type {
            self.add_enum(number, package, values);
        }
        self.add_extensions(number, package, &file.proto.extension);
        for service in &file.proto.service {
            let service_name = self.add_symbol(number, package, service.name());
            for method in &service.method {
                self.add_symbol(number, &service_name, method.name());
            }
            self.services.push(service_name);
        }
    }

    fn add_message(&mut self, number: usize, scope: &str, message: &DescriptorProto) {
        let name = self.add_symbol(number, scope, message.name());
        for field in &message.field {
            self.add_symbol(number, &name, field.name());
        }
        for oneof in &message.oneof_decl {
            self.add_symbol(number, &name, oneof.name());
        }
        for nested in &message.nested_type {
            self.add_message(number, &name, nested);
        }
        for values in &message.enum_type {
            self.add_enum(number, &name, values);
        }
        self.add_extensions(number, &name, &message.extension);
        self.extensions.entry(name).or_default();
    }

    fn add_enum(&mut self, number: usize, scope: &str, values: &EnumDescriptorProto) {
        let name = self.add_symbol(number, scope, values.name());
        for value in &values.value {
            // In protobuf, as in C++, the scope of an enum value is that of its enum. Tools also
            // look it up inside the enum.
            self.add_symbol(number, scope, value.name());
            self.add_symbol(number, &name, value.name());
        }
    }

    fn add_extensions(&mut self, number: usize, scope: &str, extensions: &[FieldDescriptorProto]) {
        for extension in extensions {
            self.add_symbol(number, scope, extension.name());
            let message = extension.extendee().trim_start_matches('.').to_owned();
            self.extensions
                .entry(message)
                .or_default()
                .insert(extension.number(), number);
        }
    }

    /// Adds a symbol and returns its full name. The first file that declares it counts.
    fn add_symbol(&mut self, number: usize, scope: &str, name: &str) -> String {
        let name = if scope.is_empty() {
            name.to_owned()
        } else {
            format!("{scope}.{name}")
        };
        self.symbols.entry(name.clone()).or_insert(number);
        name
    }
}
