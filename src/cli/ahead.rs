//! What a push does on the servers before anything has arrived: all that costs time and starts nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use git2::Oid;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::Context;
use super::agree::default_git_host;
use super::look::jobs;
use crate::deployment::connection::Connection;
use crate::deployment::direct::{Parcel, send_commit};
use crate::deployment::scripts;
use crate::deployment::trust::{Agreement, Agreements, Trust};
use crate::development::contents::{lfs_files, lfs_folder, submodules};
use crate::development::push::fetch_url;
use crate::development::repository::Repository;
use crate::error::{Context as _, Result};
use crate::model::config::{Config, Server, Source};
use crate::model::names::{CommitId, ServerName};

/// Connections that are open, or being opened, with a shell that has read the scripts.
#[derive(Default)]
pub struct Ahead(BTreeMap<ServerName, (Server, JoinHandle<Result<Ready>>)>);

/// A connection for one deployment.
pub struct Ready {
    /// The connection.
    pub connection: Connection,
    /// The commit that was sent over it already.
    pub sent: Option<CommitId>,
}

impl Ahead {
    /// Begins with the servers that pushing `head` will deploy to, as far as the person has agreed to them, and asks
    /// nothing. What fails here is said when it is needed.
    pub fn begin(ctx: &Context, repository: &Repository, config: &Config, head: Oid) -> Self {
        let begin = || -> Result<Ahead> {
            let agreements = Agreements::load()?;
            let host = default_git_host(repository, config)?;
            let remote = config.push.remotes.first().map_or("origin", String::as_str);
            let url = fetch_url(repository, remote).unwrap_or_default();
            let commit = CommitId::new(head.to_string()).or_step(|| "no commit".into())?;
            let is_sent = servers(config).any(|server| server.source == Source::Direct);
            let parcel = match is_sent {
                true => Some(Parcel {
                    root: repository.root().to_path_buf(),
                    commit,
                    submodules: submodules(repository, head, remote)?,
                    lfs_files: lfs_files(repository, head)?,
                    lfs_folder: lfs_folder(repository),
                }),
                false => None,
            };
            let sources = Arc::new(Sources { url, parcel });
            let gate = Arc::new(Semaphore::new(jobs()?));
            let mut ahead = Ahead::default();
            for server in servers(config) {
                let wanted = Agreement::for_server(repository.common_dir(), server, &host);
                if agreements.check(&wanted) != Trust::Agreed {
                    continue;
                }
                let ready = ready(server.clone(), sources.clone(), gate.clone());
                let task = ctx.spawn(ready)?;
                ahead.0.insert(server.name.clone(), (server.clone(), task));
            }
            Ok(ahead)
        };
        begin().unwrap_or_default()
    }

    /// The connection for `server`, if that is what was prepared for.
    pub fn take(&mut self, server: &Server) -> Option<JoinHandle<Result<Ready>>> {
        let (prepared, task) = self.0.remove(&server.name)?;
        (prepared == *server).then_some(task)
    }
}

/// Those of the experiments that a push launches.
fn servers(config: &Config) -> impl Iterator<Item = &Server> {
    let is_used = |server: &&Server| {
        config
            .experiments
            .values()
            .any(|experiment| experiment.on_push && experiment.servers.contains(&server.name))
    };
    config.servers.values().filter(is_used)
}

/// Where the commit comes from: the git host, or here.
struct Sources {
    url: String,
    parcel: Option<Parcel>,
}

async fn ready(server: Server, sources: Arc<Sources>, gate: Arc<Semaphore>) -> Result<Ready> {
    let _permit = gate.acquire().await;
    let mut connection = Connection::open_unasked(server.clone()).await?;
    let call = scripts::deploying(server.launcher);
    let mut sent = None;
    match server.source {
        Source::Origin => {
            connection = connection.lending_agent();
            let meanwhile = scripts::connect_to_git_host(&server.path, &sources.url);
            connection.stand_by(&call, Some(&meanwhile)).await;
        }
        Source::Direct => {
            let mut twin = connection.twin();
            if let Some(parcel) = &sources.parcel {
                let sending = send_commit(&mut connection, parcel);
                let (result, ()) = tokio::join!(sending, twin.stand_by(&call, None));
                result?;
                sent = Some(parcel.commit.clone());
            }
            connection = connection.joined_by(twin);
        }
    }
    Ok(Ready { connection, sent })
}
