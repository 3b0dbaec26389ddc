//! `featherwire serve`: checks the configuration, binds, serves and drains.

use std::{net::SocketAddr, process::ExitCode};

use secrecy::SecretString;
use tokio::{net::TcpListener, task::JoinSet};

use super::{
    failure::Failure,
    listen, output,
    reload::{Hangups, Reloader},
    shutdown_signal, supervisor,
};
use crate::{
    build_info,
    cluster::redis::Redis,
    config::{self, DatabaseLocation, Live},
    descriptors, emulator,
    keys::{Directory, Refresh, Repository},
    ledger::{Queries, Settings, Writer},
    server::{
        self, Administration, Listener, Outcome,
        tls::{POLL_INTERVAL, Refused, Reload, Tls},
    },
    service::Upstreams,
    store::Store,
    workers::Workers,
};

/// The key for the emulator of `--emulator`, which takes any. Errors never contain a key, so it is no
/// word of a message or of a model's id.
const EMULATOR_KEY: &str = "key-for-the-emulator";

/// Serves with `config`. `reload` returns what reads it again.
pub async fn run(
    mut config: config::Serve,
    reload: impl FnOnce(Live, Reload) -> Reloader,
) -> Result<ExitCode, Failure> {
    // A signal during the start waits until the server can take over changes.
    let hangups = Hangups::listen();
    config.check()?;
    let tls = Tls::load(&config.tls, config.admin_listen.is_some())?;
    for warning in config.tls.warnings() {
        output::warn(format_args!("featherwire: warning: {warning}"));
    }
    for refused in tls.refused() {
        // The watch tells of certificates that have expired.
        if let Refused::NotYet(problem) = refused {
            tracing::error!("clients refuse the gateway: {problem}");
        }
    }
    descriptors::raise_limit();
    let store = Store::open(&config.database()?).await?;
    store.migrate().await?;
    let keys = Directory::new(&config.api_keys, &config.units.key_weights);
    let ledger = Writer::start(store.clone(), ledger_settings(&config)).await;
    let refresh = Refresh::start(keys.clone(), Repository::new(store.clone())).await?;
    // A supervisor that tries again does not help: see RestartPreventExitStatus= of deploy/systemd.
    config
        .check_listen(keys.is_open())
        .and_then(|()| config.check_admin_listen(keys.has_admin()))
        .map_err(Failure::Usage)?;
    let listener = listen::bind(config.listen, "--listen", "FEATHERWIRE_LISTEN").await?;
    let listener = Listener::new(listener, tls.callers);
    let admin_listener = match config.admin_listen {
        Some(at) => {
            let listener = listen::bind(at, "--admin-listen", "FEATHERWIRE_ADMIN_LISTEN").await?;
            Some(Listener::new(listener, tls.administration))
        }
        None => None,
    };
    if config.emulator {
        let emulator = start_emulator(&config.emulator_options).await?;
        config.upstream.featherless_base_url = format!("http://{emulator}/v1").parse()?;
        config.upstream.featherless_api_key = Some(SecretString::from(EMULATOR_KEY));
    }
    check_cluster(&config).await?;
    let upstreams = Upstreams::new(&config)?;
    let workers = Workers::start(config.workers())?;
    let address = listener.local_addr()?;
    let admin = url(admin_listener.as_ref().unwrap_or(&listener))?;
    let live = Live::new(config.clone());
    let reloading = reload(live.clone(), tls.reload.clone()).at_signals(hangups);
    print_banner(&config, &keys, &listener, &admin, &upstreams)?;
    if admin_listener.is_some() {
        output::tell(format_args!("  administration: {admin}\n"));
    }
    // Signals are received from here on. The server polls this first when it serves callers.
    let signal = shutdown_signal::shutdown();
    let shutdown = async {
        supervisor::ready(address);
        tokio::select! {
            () = signal => {}
            // The server takes over changes from here on.
            () = reloading => {}
        }
        supervisor::stopping(live.get().drain_timeout);
    };
    // Ends when it is dropped.
    let mut tasks = JoinSet::new();
    tasks.spawn(tls.reload.watch(POLL_INTERVAL));
    let keys = Administration {
        manager: refresh.manager(),
        queries: Queries::new(store.queries()),
        listener: admin_listener,
    };
    let records = ledger.ledger();
    let serving = server::serve(
        listener,
        live.clone(),
        keys,
        records,
        upstreams,
        &workers,
        shutdown,
    );
    let outcome = tokio::select! {
        outcome = serving => outcome,
        never = supervisor::watchdog() => match never {},
    };
    // All calls have ended.
    ledger.end().await;
    refresh.end().await;
    store.close().await;
    match outcome? {
        Outcome::Drained => Ok(ExitCode::SUCCESS),
        Outcome::Cut(calls) => {
            output::tell(format_args!(
                "featherwire: {calls} calls were still running after --drain-timeout and were \
                 ended with an error\n"
            ));
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Checks that the Redis of the cluster can be used. If it only does not answer now, the gateway
/// starts all the same.
async fn check_cluster(config: &config::Serve) -> Result<(), Failure> {
    let Some(url) = &config.cluster.redis_url else {
        return Ok(());
    };
    match Redis::connect(url, &config.cluster.name(&config.upstream)).await {
        Ok(redis) => {
            if let Some(warning) = redis.eviction_warning().await {
                output::warn(format_args!("featherwire: warning: {warning}"));
            }
            Ok(())
        }
        Err(problem) if problem.kind().is_transient() => {
            output::warn(format_args!("featherwire: warning: {problem}"));
            Ok(())
        }
        Err(problem) => Err(Failure::Usage(problem.to_string())),
    }
}

fn ledger_settings(config: &config::Serve) -> Settings {
    Settings {
        spill_directory: config.spill_directory(),
        spill_bytes_max: config.ledger.ledger_spill_bytes.as_u64(),
        retention: config.ledger.ledger_retention,
    }
}

/// Starts the emulator on a free port. The gateway reaches it over a socket, like Featherless.
async fn start_emulator(emulator_options: &config::EmulatorOptions) -> Result<SocketAddr, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let config = super::emulator::config(emulator_options);
    // The task outlives this function on purpose. It serves until the process ends.
    tokio::spawn(emulator::serve(listener, config, std::future::pending()));
    Ok(address)
}

/// `admin`: where keys are managed while the gateway runs.
fn print_banner(
    config: &config::Serve,
    keys: &Directory,
    listener: &Listener,
    admin: &str,
    upstreams: &Upstreams,
) -> Result<(), Failure> {
    let (address, scheme) = (listener.local_addr()?, listener.scheme());
    let upstream = match upstreams.count() {
        _ if config.emulator => "the built-in emulator".to_owned(),
        1 if config.accounts.is_empty() => config.upstream.featherless_base_url.to_string(),
        1 => "1 account".to_owned(),
        count => format!("{count} accounts"),
    };
    let callers = match keys.valid_keys() {
        _ if keys.is_open() && matches!(config.database(), Ok(DatabaseLocation::Memory)) => {
            format!(
                "every caller on this machine is accepted; `featherwire keys create --gateway \
                 {admin}` requires a key. Keys are only in memory: --database-url keeps them"
            )
        }
        _ if keys.is_open() => {
            "every caller on this machine is accepted; `featherwire keys create` or \
              FEATHERWIRE_API_KEYS=gw_live_… requires a key"
                .to_owned()
        }
        0 => "there is no key for calls: `featherwire keys create` makes one".to_owned(),
        1 => "callers must send the gateway key".to_owned(),
        keys => format!("callers must send one of {keys} gateway keys"),
    };
    let missing = if upstreams.has_key() {
        ""
    } else {
        "  ! Featherless API key not configured: every call fails until FEATHERLESS_API_KEY is \
         set\n"
    };
    let link_host = if address.ip().is_unspecified() {
        format!("localhost:{}", address.port())
    } else {
        address.to_string()
    };
    output::tell(format_args!(
        "Featherwire {} on {scheme}://{address}\n  gRPC, gRPC-Web, Connect and REST \
         (/v1/chat/completions) on this port; answers come from {upstream}\n  {callers}\n{missing}  \
         playground: {scheme}://{link_host}/\n  documentation: {scheme}://{link_host}/docs\n",
        build_info::version_and_revision()
    ));
    Ok(())
}

/// The URL of a listener.
fn url(listener: &Listener) -> Result<String, Failure> {
    Ok(format!(
        "{}://{}",
        listener.scheme(),
        listener.local_addr()?
    ))
}
