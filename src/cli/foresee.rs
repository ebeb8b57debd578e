//! `git agile deploy --dry-run`: each server is looked at, and nothing is changed.

use futures_util::{StreamExt, stream};
use indicatif::BinaryBytes;
use serde::Serialize;

use super::Context;
use super::deploy::{conclude, url};
use super::look::{jobs, now};
use super::plan::{Request, Share};
use super::status::state_word;
use crate::deployment::connection::{Asking, Connection};
use crate::deployment::deploy::{Origin, deployment, report};
use crate::deployment::foresee::{Data, Foresight, foresight};
use crate::deployment::observe::learn;
use crate::deployment::scripts;
use crate::deployment::trust::{Agreement, Agreements, Trust};
use crate::development::contents::{lfs_files, submodules};
use crate::development::git;
use crate::development::pack::{Pack, Packs};
use crate::development::push::git_host;
use crate::development::repository::Repository;
use crate::error::{Error, Result};
use crate::model::config::{Server, Source};
use crate::model::names::{CommitId, Host, RelPath, RemotePath, RunId, ServerName};
use crate::model::run::{Known, Run};
use crate::terminal::{Stream, Style, clean, count};

/// What would be done on one server. What is nothing is not known, as the server could not be asked.
#[derive(Serialize)]
struct Prospect {
    server: ServerName,
    host: Host,
    path: RemotePath,
    /// `origin` or `direct`.
    source: &'static str,
    /// Why the server was not seen, or what a deployment would fail of.
    error: Option<String>,
    /// The commit and those of its submodules.
    commits: Vec<Commit>,
    lfs: Option<Lfs>,
    environment: Option<Environment>,
    data: Vec<DataSet>,
    /// What would travel to the server for the commits, in bytes; data and packages not counted.
    transfer: Option<u64>,
    runs: Vec<RunProspect>,
}

#[derive(Serialize)]
struct Commit {
    id: CommitId,
    submodule: Option<RelPath>,
    there: bool,
    pack: Option<Pack>,
}

#[derive(Serialize)]
struct Lfs {
    files: usize,
    missing: usize,
    bytes: u64,
}

#[derive(Serialize)]
struct Environment {
    name: String,
    ready: bool,
    manager: String,
}

#[derive(Serialize)]
struct DataSet {
    name: String,
    /// `there`, `unpack`, `continue`, `download`.
    state: &'static str,
    /// So many bytes of a download are there.
    bytes: Option<u64>,
}

#[derive(Serialize)]
struct RunProspect {
    id: RunId,
    command: String,
    /// `launch`, or nothing when it is there.
    action: Option<&'static str>,
    /// The state that is known of a run that is there.
    state: Option<String>,
}

/// Shows what `plan` comes to on its servers. Those that the person has not agreed to are not contacted.
///
/// # Errors
/// [`Kind`](crate::error::Kind) `Unreachable` for a server that cannot be seen, `Step` for one on which a deployment would
/// fail; the others are shown all the same.
pub fn run(
    ctx: &Context,
    repository: &Repository,
    request: &Request,
    plan: &[Share],
    json: bool,
) -> Result<()> {
    let origin = Origin {
        url: url(repository, request, plan)?,
        credential: None,
        branch: String::new(),
        submodules: submodules(repository, request.commit, &request.remote)?,
        lfs_files: lfs_files(repository, request.commit)?,
    };
    let agreements = Agreements::load()?;
    let looks = plan.iter().map(|share| {
        let (agreements, origin) = (&agreements, &origin);
        async move {
            if share.asked.is_empty() || !is_agreed(agreements, repository, share, &origin.url) {
                return (share, None);
            }
            (share, Some(look(ctx, share, origin).await))
        }
    });
    let looks = ctx.block_on(async {
        Ok(stream::iter(looks)
            .buffered(jobs()?)
            .collect::<Vec<_>>()
            .await)
    })?;
    let (mut prospects, mut failures, mut packs) = (Vec::new(), Vec::new(), Packs::default());
    for (share, look) in looks {
        let mut prospect = Prospect::of(share);
        match look {
            None if share.asked.is_empty() => {}
            None => warn_not_agreed(ctx, &share.server),
            Some(Err(error)) => {
                prospect.error = Some(error.message.clone());
                failures.push(error);
            }
            Some(Ok((seen, trouble))) => {
                prospect.take_in(repository, share, &origin, &seen, &mut packs);
                prospect.error = trouble.as_ref().map(|error| error.message.clone());
                failures.extend(trouble);
            }
        }
        prospects.push(prospect);
    }
    match json {
        true => ctx.output.json(&prospects)?,
        false => prospects
            .iter()
            .try_for_each(|prospect| show(ctx, prospect, &origin))?,
    }
    say_unpushed(ctx, repository, request, plan);
    conclude(ctx, failures)
}

fn is_agreed(agreements: &Agreements, repository: &Repository, share: &Share, url: &str) -> bool {
    let wanted = Agreement::for_server(repository.common_dir(), &share.server, &git_host(url));
    match agreements.check(&wanted) {
        Trust::Agreed => true,
        // A person's own file agrees to it when it is used.
        Trust::New => share.server.is_personal,
        Trust::Changed(_) => false,
    }
}

fn warn_not_agreed(ctx: &Context, server: &Server) {
    ctx.output.warn(&format!(
        "{}: not contacted, for you have not agreed to it",
        server.name
    ));
    ctx.output.hint(&format!("git agile trust {}", server.name));
}

/// What the server says, and what a deployment would fail of there.
async fn look(ctx: &Context, share: &Share, origin: &Origin) -> Result<(Foresight, Option<Error>)> {
    let server = &share.server;
    let call = scripts::foresee(&deployment(&share.recipe, server, origin, &share.asked)?);
    let mut connection = Connection::open(server, Asking::OnTerminal(&ctx.output)).await?;
    let answer = connection.call(&call, |_| {}).await?;
    let trouble = report(server, origin, &[], &answer).failure;
    Ok((foresight(&answer), trouble))
}

impl Prospect {
    /// What is known without the server.
    fn of(share: &Share) -> Self {
        let server = &share.server;
        let ended = share.ended.iter().map(|record| RunProspect {
            id: record.run.id.clone(),
            command: record.run.command.clone(),
            action: None,
            state: Some(format!("finished: {}", state_word(&record.known))),
        });
        Prospect {
            server: server.name.clone(),
            host: server.host.clone(),
            path: server.path.clone(),
            source: match server.source {
                Source::Origin => "origin",
                Source::Direct => "direct",
            },
            error: None,
            commits: Vec::new(),
            lfs: None,
            environment: None,
            data: Vec::new(),
            transfer: None,
            runs: share.asked.iter().map(to_launch).chain(ended).collect(),
        }
    }

    /// Adds what the server has said.
    fn take_in(
        &mut self,
        repository: &Repository,
        share: &Share,
        origin: &Origin,
        seen: &Foresight,
        packs: &mut Packs,
    ) {
        let Some(first) = share.asked.first() else {
            return;
        };
        let mut wanted = vec![(None, &first.commit, Some(repository.root()))];
        wanted.extend(
            origin
                .submodules
                .iter()
                .map(|each| (Some(each.path.clone()), &each.commit, each.clone.as_deref())),
        );
        for (submodule, id, clone) in wanted {
            let there = seen.commits.contains(id);
            let have = seen.missing.get(id);
            self.commits.push(Commit {
                id: id.clone(),
                submodule,
                there,
                pack: clone
                    .zip(have)
                    .and_then(|(clone, have)| packs.size(clone, id, have)),
            });
        }
        if !origin.lfs_files.is_empty() {
            let files = origin.lfs_files.iter();
            let missing = files.filter(|file| seen.lacks.contains(&file.oid));
            self.lfs = Some(Lfs {
                files: origin.lfs_files.len(),
                missing: missing.clone().count(),
                bytes: missing.map(|file| file.size).sum(),
            });
        }
        self.transfer = self.commits.iter().try_fold(
            self.lfs.as_ref().map_or(0, |lfs| lfs.bytes),
            |sum, commit| match commit.there {
                true => Some(sum),
                false => Some(sum + commit.pack?.bytes),
            },
        );
        self.environment = seen
            .environment
            .clone()
            .map(|(name, ready, manager)| Environment {
                name,
                ready,
                manager,
            });
        self.data = data(&share.asked, seen);
        for run in &mut self.runs {
            let facts = seen.runs.get(&run.id).and_then(|seen| seen.facts.as_ref());
            let known = learn(&Known::asked(), facts, now());
            // A folder in which nothing has begun is taken up again.
            if known.state != Known::asked().state {
                run.action = None;
                run.state = Some(match known.state.is_end() {
                    true => format!("finished: {}", state_word(&known)),
                    false => state_word(&known),
                });
            }
        }
    }
}

fn to_launch(run: &Run) -> RunProspect {
    RunProspect {
        id: run.id.clone(),
        command: run.command.clone(),
        action: Some("launch"),
        state: None,
    }
}

/// The data sets of the runs, each once.
fn data(runs: &[Run], seen: &Foresight) -> Vec<DataSet> {
    let mut sets: Vec<DataSet> = Vec::new();
    for (name, key) in runs.iter().flat_map(|run| &run.data) {
        let Some(data) = seen.data.get(&key.url) else {
            continue;
        };
        if sets.iter().any(|set| set.name == name.as_str()) {
            continue;
        }
        let (state, bytes) = match data {
            Data::There => ("there", None),
            Data::Packed => ("unpack", None),
            Data::Part(bytes) => ("continue", Some(*bytes)),
            Data::Missing => ("download", None),
        };
        sets.push(DataSet {
            name: name.to_string(),
            state,
            bytes,
        });
    }
    sets
}

fn show(ctx: &Context, prospect: &Prospect, origin: &Origin) -> Result<()> {
    let head = format!("{} ({}:{})", prospect.server, prospect.host, prospect.path);
    ctx.output
        .data(&ctx.output.paint(Stream::Data, Style::Bold, &head))?;
    for line in things(prospect, origin) {
        ctx.output.data(&format!("  {}", clean(&line)))?;
    }
    for run in &prospect.runs {
        let what = match &run.state {
            Some(state) => format!("already {state}"),
            None => run.command.clone(),
        };
        ctx.output
            .data(&format!("  {}  {}", run.id, clean(&what)))?;
    }
    Ok(())
}

/// A line for each thing that the runs stand on.
fn things(prospect: &Prospect, origin: &Origin) -> Vec<String> {
    let mut lines = Vec::new();
    let verb = match prospect.source {
        "direct" => "send".to_string(),
        _ => format!("fetch from {}", origin.url),
    };
    for commit in &prospect.commits {
        let what = match &commit.submodule {
            None => format!("commit {}", commit.id.short()),
            Some(path) => format!("submodule {path} {}", commit.id.short()),
        };
        let fate = match (commit.there, commit.pack) {
            (true, _) => "there".to_string(),
            (false, Some(pack)) => format!(
                "{verb}: {}, {}",
                count(pack.objects, "object"),
                BinaryBytes(pack.bytes)
            ),
            (false, None) => format!("{verb}: size not known here"),
        };
        lines.push(format!("{what}: {fate}"));
    }
    if let Some(lfs) = &prospect.lfs {
        let fate = match lfs.missing {
            0 => "there".to_string(),
            missing => format!("{verb}: {missing}, {}", BinaryBytes(lfs.bytes)),
        };
        lines.push(format!("{} of Git LFS: {fate}", count(lfs.files, "file")));
    }
    for set in &prospect.data {
        let fate = match (set.state, set.bytes) {
            ("continue", Some(bytes)) => {
                format!("continue the download, {} are there", BinaryBytes(bytes))
            }
            (state, _) => state.to_string(),
        };
        lines.push(format!("data {}: {fate}", set.name));
    }
    if let Some(environment) = &prospect.environment {
        let fate = if environment.ready { "there" } else { "build" };
        let Environment { name, manager, .. } = environment;
        lines.push(format!("environment {name} ({manager}): {fate}"));
    }
    lines
}

/// Says that servers could not fetch the commit yet, as far as is known here.
fn say_unpushed(ctx: &Context, repository: &Repository, request: &Request, plan: &[Share]) {
    if plan.iter().all(Share::is_sent) {
        return;
    }
    let contains = format!("--contains={}", request.commit);
    let place = format!("refs/remotes/{}", request.remote);
    let refs = git::read(
        git::command_in(repository.root()),
        &["for-each-ref", "--count=1", &contains, "--", &place],
    );
    if refs.is_ok_and(|refs| refs.is_empty()) {
        let short = &request.commit.to_string()[..7];
        let remote = &request.remote;
        ctx.output.hint(&clean(&format!(
            "commit {short} is not known to be on {remote} yet: git agile push"
        )));
    }
}
