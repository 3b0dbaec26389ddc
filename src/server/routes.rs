//! The routes, and the list of steps before each kind of route, in the order in which a request
//! passes them. All requests pass [`front`](super::front) before.
//! - `/healthz`, `/readyz`, `/docs`, `/openapi.json`, `/`: no steps, no key.
//! - `/metrics`: [`Steps::metrics`].
//! - REST: [`Steps::rest`].
//! - gRPC, the services: [`Steps::grpc`]. Health and reflection, without a key:
//!   [`Steps::grpc_without_key`].
//! - Unknown paths: an error in the caller's protocol.
//!
//! Each list of steps is one `async fn`. As layers of axum's router, each step would need a clone
//! of all services behind it, and a boxed future. For the same reason the methods that models
//! answer are called without the router.

use std::{future::Future, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::Response,
};
use http::Method;
use tower::Service;

use super::{
    auth, count_bytes, dialect,
    keyless::{self, KeylessLimits},
    metrics,
    plane::Plane,
    readiness::Readiness,
};
use crate::{
    config,
    error::{Error, Result},
    grpc::{
        self, GrpcServices, connect, descriptor_set, large_message, methods::Methods, read_timeout,
        reflection, request::MessageChecks,
    },
    keys::{Directory, Purpose},
    rest::{self, RestState, Shortcut, transcode},
    service::{Services, headers, inflight_bytes::InflightBytes},
    telemetry,
};

/// All routes of the server.
pub(super) struct Routes {
    steps: Arc<Steps>,
    grpc: GrpcServices,
    rest: RestState,
    metrics: Option<metrics::Sources>,
    /// The routes that get few requests.
    others: Router,
}

impl Routes {
    pub(super) fn new(
        config: &config::Serve,
        services: Services,
        readiness: &Readiness,
        keys: Directory,
        metrics: Option<metrics::Sources>,
    ) -> Result<Self> {
        let bytes_max = usize::try_from(config.max_request_bytes.as_u64()).unwrap_or(usize::MAX);
        let files = descriptor_set::files()?;
        let steps = Arc::new(Steps::new(config, bytes_max, readiness, keys, &files));
        let rest = rest::state(services.clone(), bytes_max);
        let without_key = readiness
            .health_routes()
            .merge(reflection::routes(&files)?)
            .layer(from_fn_with_state(
                Arc::clone(&steps),
                async |State(steps): State<Arc<Steps>>, request, next| {
                    steps.grpc_without_key(request, next).await
                },
            ));
        let rest_routes = rest::routes(rest.clone()).layer(from_fn_with_state(
            Arc::clone(&steps),
            async |State(steps): State<Arc<Steps>>, request, next: Next| {
                let answer = |request| next.run(request);
                steps.rest(Purpose::Models, request, answer).await
            },
        ));
        let methods = Arc::clone(&steps.methods);
        let others = Router::new()
            .merge(readiness.probes())
            .merge(rest::docs::routes())
            .merge(rest::home::routes())
            .merge(without_key)
            .merge(rest_routes)
            .fallback(async move |request: Request| unknown(&methods, request).await);
        Ok(Self {
            steps,
            grpc: GrpcServices::new(services, bytes_max),
            rest,
            metrics,
            others,
        })
    }

    /// Answers a request of a listener that serves this `plane`.
    pub(super) async fn answer(&self, plane: Plane, request: Request) -> Response {
        if plane != Plane::Whole
            && let Some(error) = plane.refusal(&request)
        {
            return dialect::refuse(error, &request);
        }
        if GrpcServices::have(request.uri().path()) {
            return self.steps.grpc(&self.grpc, request).await;
        }
        if let Some(shortcut) = Shortcut::of(&request) {
            let answer = |request| shortcut.answer(self.rest.clone(), request);
            return self.steps.rest(Purpose::Models, request, answer).await;
        }
        let path = request.uri().path();
        if path == metrics::PATH
            && let Some(sources) = &self.metrics
        {
            return self.steps.metrics(sources, plane, request).await;
        }
        let purpose = match () {
            () if transcode::is_admin(path) => Some(Purpose::Admin),
            () if transcode::is_own(path) => Some(Purpose::Own),
            () => None,
        };
        if let Some(purpose) = purpose {
            let is_head = request.method() == Method::HEAD;
            let answer = |request| transcode::answer(self.rest.clone(), request);
            let response = self.steps.rest(purpose, request, answer).await;
            return match is_head {
                true => transcode::without_body(response),
                false => response,
            };
        }
        let mut others = self.others.clone();
        match others.call(request).await {
            Ok(response) => response,
            Err(impossible) => match impossible {},
        }
    }
}

/// What the steps need.
struct Steps {
    readiness: Readiness,
    keys: Directory,
    inflight: InflightBytes,
    methods: Arc<Methods>,
    message_checks: MessageChecks,
    message_checks_of_admin: MessageChecks,
    message_checks_without_key: MessageChecks,
    keyless_limits: KeylessLimits,
}

impl Steps {
    fn new(
        config: &config::Serve,
        bytes_max: usize,
        readiness: &Readiness,
        keys: Directory,
        files: &[descriptor_set::File],
    ) -> Self {
        let inflight = InflightBytes::new(config.inflight_request_bytes_max());
        let methods = Arc::new(Methods::new(files));
        Self {
            message_checks: MessageChecks::guarded(bytes_max, &methods, &inflight),
            message_checks_of_admin: MessageChecks::admin(&methods, &inflight),
            message_checks_without_key: MessageChecks::open(keyless::MESSAGE_BYTES_MAX, &methods),
            keyless_limits: KeylessLimits::new(keys.clone(), readiness.clone()),
            readiness: readiness.clone(),
            keys,
            inflight,
            methods,
        }
    }

    /// The steps of REST.
    async fn rest<F: Future<Output = Response>>(
        &self,
        purpose: Purpose,
        mut request: Request,
        next: impl FnOnce(Request) -> F,
    ) -> Response {
        if let Err(error) = self.admit(purpose, &mut request).await {
            return dialect::refuse(error, &request);
        }
        // Counts the bytes of the body.
        let request = count_bytes::count(&self.inflight, request).map(Body::new);
        // Refuses unknown codings of the body, and compresses large answers.
        rest::compression::negotiate(request, next).await
    }

    /// The metrics. They need a key that manages, unless they have a listener for themselves and the
    /// administration.
    async fn metrics(
        &self,
        sources: &metrics::Sources,
        plane: Plane,
        request: Request,
    ) -> Response {
        // Nobody reads the body.
        let mut request = request.map(drop);
        let admitted = match plane {
            Plane::Administration => Ok(()),
            Plane::Whole | Plane::Callers => {
                auth::check(&self.keys, Purpose::Admin, &mut request).await
            }
        };
        let answered = match admitted {
            Ok(()) => {
                sources
                    .answer(&request, &self.readiness, &self.inflight)
                    .await
            }
            Err(error) => Err(error),
        };
        answered.unwrap_or_else(|error| dialect::refuse(error, &request))
    }

    /// The steps of the gRPC services.
    async fn grpc(&self, services: &GrpcServices, request: Request) -> Response {
        let purpose = purpose_of(request.uri().path());
        let checks = match purpose {
            Purpose::Models => &self.message_checks,
            Purpose::Own | Purpose::Admin => &self.message_checks_of_admin,
        };
        // Refuses what is not gRPC, and translates gRPC-Web and Connect.
        grpc::only_grpc(checks, request, |request| async move {
            let told = headers::timeout(request.headers());
            let timeout = told.as_ref().ok().copied().flatten();
            // Limits the time in which the message arrives.
            let mut request = read_timeout::with_timeout(request, timeout, None);
            let admitted = self.admit(purpose, &mut request).await.and(told);
            let rules = admitted.and_then(|timeout| checks.rules(&request, timeout));
            let rules = match rules {
                Ok(rules) => rules,
                Err(error) => return grpc::refuse(error, request.headers()),
            };
            // Checks the framing and the size of the message, and decompresses it.
            let request = checks.apply(rules, request);
            // Counts the bytes of the message.
            let request = count_bytes::count(&self.inflight, request);
            // Decodes few large messages at the same time.
            let request = large_message::wait_for_turn(request, timeout);
            services.answer(request).await
        })
        .await
    }

    /// The steps of health and reflection, which need no key.
    async fn grpc_without_key(self: Arc<Self>, request: Request, next: Next) -> Response {
        let checks = &self.message_checks_without_key;
        grpc::only_grpc(checks, request, |request| {
            let (steps, next) = (Arc::clone(&self), next.clone());
            async move {
                let told = headers::timeout(request.headers());
                let timeout = told.as_ref().ok().copied().flatten();
                // Limits calls without a key, and the time in which messages arrive.
                keyless::limit(&steps.keyless_limits, request, timeout, async |request| {
                    let checks = &steps.message_checks_without_key;
                    match told.and_then(|timeout| checks.rules(&request, timeout)) {
                        Ok(rules) => {
                            let request = checks.apply(rules, request);
                            next.run(request.map(Body::new)).await
                        }
                        Err(error) => grpc::refuse(error, request.headers()),
                    }
                })
                .await
            }
        })
        .await
    }

    /// Refuses new calls during the drain, because that is cheap to check, and then calls without a
    /// key, before anything reads the body. Adds the caller to the request.
    async fn admit<B>(
        &self,
        purpose: Purpose,
        request: &mut http::Request<B>,
    ) -> Result<(), Error> {
        self.readiness.check()?;
        auth::check(&self.keys, purpose, request).await
    }
}

/// What a call of this gRPC method is for.
fn purpose_of(path: &str) -> Purpose {
    if GrpcServices::is_admin(path) {
        Purpose::Admin
    } else if GrpcServices::is_own(path) {
        Purpose::Own
    } else {
        Purpose::Models
    }
}

async fn unknown(methods: &Methods, request: Request) -> Response {
    if grpc::is_grpc(request.headers()) {
        grpc::unknown_method(methods, &request)
    } else if telemetry::is_connect(&request) {
        connect::unknown_method(methods, &request)
    } else {
        rest::unknown_path(request).await
    }
}
