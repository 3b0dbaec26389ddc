//! The rules of the contract: `google.api.http`.

use std::sync::OnceLock;

use http::Method;
use prost_reflect::{DescriptorPool, ExtensionDescriptor, MethodDescriptor, Value};

use super::template::Template;
use crate::{
    error::{Error, Result},
    proto::DESCRIPTOR_SET,
};

/// The services whose methods are answered by their rules.
const SERVICES: [&str; 3] = [
    "featherwire.v1.CallerService",
    "featherwire.admin.v1.KeyService",
    "featherwire.admin.v1.UsageService",
];

/// The names of HTTP's methods in a rule.
const VERBS: [(&str, Method); 4] = [
    ("get", Method::GET),
    ("post", Method::POST),
    ("patch", Method::PATCH),
    ("delete", Method::DELETE),
];

/// The rule of one method.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) verb: Method,
    template: Template,
    /// Whether the body is the request.
    pub(super) has_body: bool,
    pub(super) method: MethodDescriptor,
}

/// What a request meets.
#[derive(Debug)]
pub(super) enum Found<'a> {
    /// A rule, and the values of the fields in the path.
    Rule(&'a Rule, Vec<(&'a str, String)>),
    /// A path that takes these other methods of HTTP.
    OtherMethods(Vec<&'a str>),
    /// No rule.
    Nothing,
}

/// All rules.
#[derive(Debug)]
pub(super) struct Rules(Vec<Rule>);

/// All rules of the services. They are read when a request needs them for the first time.
///
/// # Errors
/// [`Kind::Internal`](crate::error::Kind::Internal) if the contract has a rule in another form than
/// the ones used here.
pub(super) fn all() -> Result<&'static Rules> {
    static RULES: OnceLock<Option<Rules>> = OnceLock::new();
    let rules = RULES.get_or_init(Rules::read).as_ref();
    rules.ok_or_else(|| Error::internal("the rules of the contract cannot be read"))
}

impl Rules {
    fn read() -> Option<Self> {
        let pool = DescriptorPool::decode(DESCRIPTOR_SET).ok()?;
        let http = pool.get_extension_by_name("google.api.http")?;
        let mut rules = Vec::new();
        for service in SERVICES {
            let service = pool.get_service_by_name(service)?;
            for method in service.methods() {
                rules.push(Rule::of(&http, method)?);
            }
        }
        Some(Self(rules))
    }

    /// What a request with this method and path meets.
    pub(super) fn find(&self, verb: &Method, path: &str) -> Found<'_> {
        let met = self.0.iter().filter_map(|rule| {
            let values = rule.template.values(path)?;
            Some((rule, values))
        });
        let met: Vec<_> = met.collect();
        let others = met.iter().flat_map(|(rule, _)| rule.verbs()).collect();
        let same = met
            .into_iter()
            .find(|(rule, _)| rule.verbs().any(|own| own == verb.as_str()));
        match same {
            Some((rule, values)) => Found::Rule(rule, values),
            None => match others {
                others if Vec::is_empty(&others) => Found::Nothing,
                others => Found::OtherMethods(others),
            },
        }
    }
}

impl Rule {
    /// The methods of HTTP that it answers. `HEAD` is answered as `GET`, without the body.
    fn verbs(&self) -> impl Iterator<Item = &str> {
        let head = (self.verb == Method::GET).then_some(Method::HEAD.as_str());
        std::iter::once(self.verb.as_str()).chain(head)
    }

    fn of(http: &ExtensionDescriptor, method: MethodDescriptor) -> Option<Self> {
        let options = method.options();
        let rule = options.get_extension(http);
        let rule = rule.as_message()?;
        let text = |name: &str| match rule.get_field_by_name(name)?.as_ref() {
            Value::String(text) => Some(text.clone()),
            _ => None,
        };
        let (name, verb) = VERBS
            .into_iter()
            .find(|(name, _)| rule.has_field_by_name(name))?;
        let body = text("body")?;
        Some(Self {
            verb,
            template: Template::parse(&text(name)?)?,
            has_body: match body.as_str() {
                "" => false,
                "*" => true,
                _ => return None,
            },
            method,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_meets_one_rule() {
        let rules = all().unwrap();
        let name = |verb: Method, path: &str| match rules.find(&verb, path) {
            Found::Rule(rule, _) => rule.method.name().to_owned(),
            Found::OtherMethods(methods) => methods.join(" "),
            Found::Nothing => String::new(),
        };
        assert_eq!(name(Method::POST, "/admin/v1/keys"), "CreateKey");
        assert_eq!(name(Method::GET, "/admin/v1/keys"), "ListKeys");
        assert_eq!(name(Method::PATCH, "/admin/v1/keys/x"), "UpdateKey");
        assert_eq!(name(Method::POST, "/admin/v1/keys/x:rotate"), "RotateKey");
        assert_eq!(name(Method::HEAD, "/admin/v1/keys"), "ListKeys");
        assert_eq!(name(Method::PUT, "/admin/v1/keys"), "POST GET HEAD");
        assert_eq!(name(Method::GET, "/admin/v1/key"), "");
    }
}
