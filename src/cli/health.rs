//! `featherwire health`: the probe of a container, which has no other program to ask with.

use std::{
    convert::Infallible, fmt::Display, future::pending, process::ExitCode, sync::Arc,
    time::Duration,
};

use clap::Args;
use http::{Request, StatusCode, Uri, header, uri::Scheme};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::{
    client_tls,
    failure::Failure,
    gateway_stream::{self, GatewayStream},
    output, printable,
    progress::Progress,
};
use crate::config;

/// The longest wait for the answer. Supervisors wait for a probe about as long.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The largest answer that is read. The gateway's are one line.
const ANSWER_BYTES_MAX: usize = 4096;

/// Asks a running gateway whether it is ready for calls, and prints one line. The exit code is 0 if
/// it is, and 1 if it is not or does not answer within 3 seconds. This is the health check of a
/// container.
#[derive(Args, Debug)]
pub struct Health {
    /// Ask whether the program runs (`/healthz`), and not whether it is ready for calls (`/readyz`)
    #[arg(long)]
    live: bool,

    #[command(flatten)]
    place: config::HealthPlace,
}

impl Health {
    pub async fn run(self) -> Result<ExitCode, Failure> {
        let gateway = self.place.url();
        let path = if self.live { "/healthz" } else { "/readyz" };
        let progress = Progress::start(format!("asking {gateway}{path}"));
        let answer = timeout(TIMEOUT, ask(&self.place, &gateway, path)).await;
        drop(progress);
        let (status, text) = answer.unwrap_or_else(|_| {
            let seconds = TIMEOUT.as_secs();
            Err(Failure::failed(format_args!(
                "{gateway}{path} does not answer within {seconds} seconds"
            )))
        })?;
        let line = text.lines().next().unwrap_or_default();
        // Another program may listen there.
        let line = printable::line(line);
        if status == StatusCode::OK {
            output::print(format_args!("{line}\n"))?;
            return Ok(ExitCode::SUCCESS);
        }
        Err(Failure::failed(format_args!(
            "{gateway}{path} answers {}: {line}",
            status.as_u16()
        )))
    }
}

/// The status and the text of the answer.
async fn ask(
    place: &config::HealthPlace,
    gateway: &str,
    path: &str,
) -> Result<(StatusCode, String), Failure> {
    let uri: Uri = gateway.parse()?;
    let host = uri.host().unwrap_or_default();
    let authority = match uri.port_u16() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    let tls = match uri.scheme() == Some(&Scheme::HTTPS) {
        true => Some(Arc::new(client_tls::of_health(place)?)),
        false => None,
    };
    let stream = GatewayStream::connect(&uri, tls).await;
    let stream =
        stream.map_err(|error| format!("no gateway at {gateway}: {}", sentence(&error)))?;
    let request = Request::get(path)
        .header(header::HOST, authority)
        .body(Empty::<Bytes>::new())?;
    exchange(stream, request, gateway).await
}

/// What is wrong: with TLS, or else what the error says.
fn sentence(error: &dyn Display) -> String {
    gateway_stream::problem().unwrap_or_else(|| error.to_string())
}

async fn exchange(
    stream: GatewayStream,
    request: Request<Empty<Bytes>>,
    gateway: &str,
) -> Result<(StatusCode, String), Failure> {
    let url = format!("{gateway}{}", request.uri());
    let no_answer = |error: hyper::Error| format!("{url} gives no answer: {}", sentence(&error));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(no_answer)?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(no_answer)?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| format!("{url} breaks off: {error}"))?;
        let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        Ok((head.status, text))
    };
    let connection = async {
        // Its error is that of the answer too.
        let _ = connection.await;
        pending::<Infallible>().await
    };
    tokio::select! {
        answer = answer => answer,
        never = connection => match never {},
    }
}
