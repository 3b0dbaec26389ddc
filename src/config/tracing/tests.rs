//! What the options for traces mean together.

use clap::Parser;
use http::HeaderValue;

use super::*;

#[derive(Parser)]
struct Options {
    #[command(flatten)]
    tracing: Tracing,
}

fn settings(arguments: &[&str]) -> Result<Option<TraceSettings>, String> {
    let arguments = std::iter::once(&"test").chain(arguments);
    Options::parse_from(arguments).tracing.settings()
}

#[test]
fn traces_go_where_the_standard_says() {
    let endpoint = |arguments: &[&str]| {
        let settings = settings(arguments).unwrap();
        settings.map(|settings| settings.collector.endpoint.to_string())
    };
    for (arguments, expected) in [
        (&[][..], None),
        (&["--otlp-endpoint", ""], None),
        (
            &["--otlp-endpoint", "http://c:4318"],
            Some("http://c:4318/v1/traces"),
        ),
        (
            &["--otlp-endpoint", "https://c/below/"],
            Some("https://c/below/v1/traces"),
        ),
        (
            &[
                "--otlp-endpoint",
                "http://c:4317",
                "--otlp-protocol",
                "grpc",
            ],
            Some("http://c:4317/"),
        ),
        (
            &[
                "--otlp-endpoint",
                "http://c",
                "--otlp-traces-endpoint",
                "http://t/x",
            ],
            Some("http://t/x"),
        ),
        (
            &["--traces-exporter", "otlp"],
            Some("http://localhost:4318/v1/traces"),
        ),
        (
            &[
                "--traces-exporter",
                "otlp",
                "--otlp-traces-protocol",
                "grpc",
            ],
            Some("http://localhost:4317/"),
        ),
        (
            &["--otlp-endpoint", "http://c", "--traces-exporter", "none"],
            None,
        ),
        (
            &["--otlp-endpoint", "http://c", "--otel-sdk-disabled"],
            None,
        ),
    ] {
        assert_eq!(endpoint(arguments).as_deref(), expected, "{arguments:?}");
    }
}

#[test]
fn what_is_set_for_traces_comes_first_and_what_contradicts_is_an_error() {
    let settings = |arguments: &[&str]| {
        let all = [&["--otlp-endpoint", "http://c"], arguments].concat();
        settings(&all).map(Option::unwrap)
    };
    let of_traces = settings(&[
        "--otlp-headers",
        "a=1,b=2",
        "--otlp-traces-headers",
        "c=x%2Cy",
        "--otlp-timeout",
        "7000",
        "--traces-sampler",
        "traceidratio",
        "--traces-sampler-arg",
        "0.5",
    ])
    .unwrap();
    let headers = &of_traces.collector.headers;
    assert_eq!(
        (headers.len(), &headers["c"]),
        (1, &HeaderValue::from_static("x,y"))
    );
    assert_eq!(of_traces.collector.timeout, Duration::from_secs(7));
    assert_eq!(
        of_traces.sampler,
        Sampler {
            follows_caller: false,
            share: 0.5
        }
    );
    let name = |arguments: &[&str]| {
        let resource = settings(arguments).unwrap().resource;
        let names = resource
            .into_iter()
            .filter(|(name, _)| name == "service.name");
        names.map(|(_, value)| value).collect::<Vec<_>>()
    };
    assert_eq!(name(&[]), ["featherwire"]);
    let attributes = ["--resource-attributes", "service.name=of-attributes,x=y"];
    assert_eq!(name(&attributes), ["of-attributes"]);
    let both = [&attributes[..], &["--service-name", "mine"]].concat();
    assert_eq!(name(&both), ["mine"]);
    let small = settings(&["--trace-queue", "10"]).unwrap_err();
    assert!(small.contains("--trace-batch"), "{small}");
}

#[test]
fn a_url_with_a_password_is_refused_and_not_repeated() {
    let arguments = ["test", "--otlp-endpoint", "http://user:very-secret@c"];
    let Err(error) = Options::try_parse_from(arguments) else {
        panic!("it is refused")
    };
    assert!(
        error.to_string().contains("OTEL_EXPORTER_OTLP_HEADERS"),
        "{error}"
    );
}
