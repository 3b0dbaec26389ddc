//! `featherwire models`: shows the catalogue as a table, from a running gateway by gRPC.

use std::{fmt::Write, process::ExitCode};

use clap::Args;

use super::{client, failure::Failure, output, printable, progress::Progress};
use crate::{
    config,
    proto::v1::{ListModelsRequest, Model, ModelFilter, model_service_client::ModelServiceClient},
};

/// Shows the catalogue of a running gateway as a table, by gRPC.
#[derive(Args, Debug)]
pub struct Models {
    /// Only models whose id contains this text
    #[arg(long, short, value_name = "TEXT")]
    search: Option<String>,

    /// Only models whose class begins with this text, such as llama3
    #[arg(long, value_name = "CLASS")]
    family: Option<String>,

    /// Only models that are not gated by a licence
    #[arg(long)]
    ungated: bool,

    /// The largest number of models to show
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,

    #[command(flatten)]
    gateway: config::Gateway,
}

impl Models {
    pub async fn run(self) -> Result<ExitCode, Failure> {
        let progress = Progress::start(format!("connecting to {}", self.gateway.gateway));
        let (channel, key) = client::connect(&self.gateway).await?;
        progress.say("reading the catalogue");
        let mut client = ModelServiceClient::with_interceptor(channel, key)
            .max_decoding_message_size(client::MESSAGE_BYTES_MAX);
        let filter = ModelFilter {
            search: self.search.unwrap_or_default(),
            family: self.family.unwrap_or_default(),
            gated: self.ungated.then_some(false),
            available_on_current_plan: None,
        };
        let mut request = ListModelsRequest {
            page_size: 1000,
            filter: Some(filter),
            ..ListModelsRequest::default()
        };
        let mut models: Vec<Model> = Vec::new();
        let total = loop {
            let page = client
                .list_models(request.clone())
                .await
                .map_err(|status| client::failure(&status))?
                .into_inner();
            models.extend(page.models);
            progress.say(format!("reading the catalogue · {} models", models.len()));
            match page.next_page_token {
                Some(token) if models.len() < self.limit => request.page_token = token,
                _ => break page.total_size.unwrap_or_default(),
            }
        };
        drop(progress);
        models.truncate(self.limit);
        output::print(table(&models))?;
        output::tell(format_args!("{} of {total} models\n", models.len()));
        Ok(ExitCode::SUCCESS)
    }
}

fn table(models: &[Model]) -> String {
    let row = |model: &Model| {
        let number = |value: Option<i32>| value.map_or("-".to_owned(), |value| value.to_string());
        let class = model.model_class.clone().unwrap_or_else(|| "-".to_owned());
        let gated = if model.is_gated == Some(true) {
            "gated"
        } else {
            ""
        };
        [
            printable::line(&model.id).into_owned(),
            printable::line(&class).into_owned(),
            number(model.context_length),
            number(model.concurrency_cost),
            gated.to_owned(),
        ]
    };
    let head = ["MODEL", "CLASS", "CONTEXT", "UNITS", ""].map(str::to_owned);
    let rows: Vec<_> = [head].into_iter().chain(models.iter().map(row)).collect();
    let width = |get: fn(&[String; 5]) -> &String| {
        rows.iter()
            .map(|row| get(row).len())
            .max()
            .unwrap_or_default()
    };
    let (model, class) = (width(|[model, ..]| model), width(|[_, class, ..]| class));
    let mut table = String::new();
    for [id, family, context, units, gated] in &rows {
        // Writing to a String can't fail.
        let _ = writeln!(
            table,
            "{id:model$}  {family:class$}  {context:>7}  {units:>5}  {gated}"
        );
    }
    table
}
