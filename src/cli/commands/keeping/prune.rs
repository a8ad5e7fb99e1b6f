//! `prune-aliases`: deletes aliases by rules, as a plan says.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use dxf_registry::bounds;
use dxf_registry::file::Aside;
use dxf_registry::keeping::prune::{
    self, Applied, Every, LastTag, MaxDelete, Plan, RepoPlan, Rules,
};
use dxf_registry::layout::Layout;
use dxf_registry::stream::read_bounded;
use dxf_registry::{Error, Host, RepoName, Result, Root, json};
use serde_json::{Value, json};

use crate::cli::args::{self, PruneAliases, RuleArgs};
use crate::cli::env::Shape;
use crate::cli::exit::Failure;
use crate::cli::out::size;
use crate::cli::session::Session;

/// The largest plan that is read, bytes.
const MAX_PLAN: u64 = bounds::PLAN;

/// `prune-aliases <repo> … RULES [--plan FILE | --apply FILE | --yes]`
pub fn run(s: &mut Session<'_, '_>, args: &PruneAliases) -> Result<(), Failure> {
    let repos = repos(s, args)?;
    let plan = match &args.apply {
        Some(file) => chosen(read(file)?, &repos)?,
        None => make(s, args, &repos)?,
    };
    if !args.dry_run && (args.apply.is_some() || args.yes) {
        return apply(s, args, &plan);
    }
    if args.apply.is_some() {
        for one in &plan.repositories {
            one.must_be_of(&*s.store(one.repository.parse()?)?)?;
        }
    }
    if let Some(file) = &args.plan {
        write(file, &plan.to_bytes()?)?;
    }
    show(s, &plan, None)?;
    if plan.repositories.iter().all(|one| one.delete.is_empty()) {
        return Ok(());
    }
    let hint = match args.plan.as_ref().or(args.apply.as_ref()) {
        Some(file) => format!("--apply {} deletes them", file.display()),
        None => "--yes deletes them; --plan FILE writes them down for --apply FILE".into(),
    };
    s.console.line(&format!("nothing was deleted; {hint}"));
    Ok(())
}

fn repos(s: &Session<'_, '_>, args: &PruneAliases) -> Result<Vec<RepoName>, Failure> {
    let words = args
        .words
        .take(usize::from(args.apply.is_none()), usize::MAX)?;
    let root = s.context.root.as_ref();
    let named = words.iter().map(|word| args::repo(args::text(word)?, root));
    let mut names = named.collect::<Result<Vec<RepoName>>>()?;
    names.sort();
    names.dedup();
    Ok(names)
}

/// The rules that the options say.
fn rules(args: &RuleArgs, allow_empty: bool, max_delete: Option<&str>) -> Result<Rules> {
    let mut rules = Rules::default().with_keep_last(args.keep_last.unwrap_or(0));
    let every = [
        (Every::Day, args.keep_daily),
        (Every::Week, args.keep_weekly),
        (Every::Month, args.keep_monthly),
        (Every::Year, args.keep_yearly),
    ];
    for (every, count) in every {
        if count == Some(0) {
            let why = "it keeps none; leave it out, or give 1 or more";
            return Err(Error::invalid(every.option(), "0", why));
        }
        rules = rules.with_keep_every(every, count.unwrap_or(0));
    }
    if let Some(age) = &args.keep_within {
        rules = rules.with_keep_within(args::duration("--keep-within", age)?);
    }
    for glob in &args.only {
        rules = rules.with_only(glob)?;
    }
    for glob in &args.keep {
        rules = rules.with_keep(glob)?;
    }
    for range in &args.keep_semver {
        rules = rules.with_keep_semver(range)?;
    }
    if let Some(regex) = &args.group_by {
        rules = rules.with_group_by(regex)?;
    }
    if let Some(format) = &args.date_from_tag {
        rules = rules.with_date_from_tag(format.parse()?);
    }
    if let Some(text) = max_delete {
        rules = rules.with_max_delete(MaxDelete::parse(text)?);
    }
    if allow_empty {
        rules = rules.with_last_tag(LastTag::Delete);
    }
    Ok(rules)
}

fn make(s: &Session<'_, '_>, args: &PruneAliases, repos: &[RepoName]) -> Result<Plan, Failure> {
    let max_delete = args.max_delete.as_deref();
    let rules = rules(&args.rules, args.allow_empty, max_delete)?;
    rules.check()?;
    if !rules.chooses() {
        let hint = "these rules keep aliases and choose none to delete; --only GLOB or \
                    --keep-last N would";
        s.console.line(hint);
    }
    let mut plans = Vec::new();
    for repo in repos {
        let store = s.store(repo.clone())?;
        let name = repo.as_str();
        let named = prune::Repo {
            store: &*store,
            name,
        };
        let plan = prune::plan(named, &rules, s.documents(), s.run());
        plans.push(plan.map_err(|e| e.at(&format!("repository {repo}")))?);
    }
    for plan in &plans {
        explain(s, args, plan);
    }
    Ok(Plan::new(plans))
}

/// Says why aliases stay that one would expect to go.
fn explain(s: &Session<'_, '_>, args: &PruneAliases, plan: &RepoPlan) {
    let repo = &plan.repository;
    if plan.names_none() {
        s.console.warn(&format!(
            "{repo}: --only matches none of its {} aliases",
            plan.tags
        ));
    }
    let (held, most) = (plan.held(), plan.delete.len());
    if held > 0 {
        let rule = match args.max_delete {
            Some(_) => "as --max-delete says",
            None => "a tenth of its aliases; --max-delete N or N% changes that",
        };
        s.console.line(&format!(
            "{repo}: the rules would delete {held} more; one run deletes no more than {most}, {rule}"
        ));
    }
    let shared = plan.shared();
    if shared > 0 && !plan.store.starts_with("oci:") {
        s.console.line(&format!(
            "{repo}: {shared} of these have the manifest of an alias that is kept; a registry \
             that deletes only whole manifests keeps them"
        ));
    }
    let unknown = plan.unknown.len();
    if unknown > 0 {
        let hint = match args.rules.date_from_tag {
            None => "if their names contain a date, --date-from-tag '*%Y-%m-%d*' reads it",
            Some(_) => "--date-from-tag reads no date in their names, or one in the future (UTC)",
        };
        s.console.warn(&format!(
            "{repo}: {unknown} of {} aliases are kept because their age is unknown; {hint}",
            plan.tags
        ));
    }
}

fn read(file: &Path) -> Result<Plan> {
    let what = file.display().to_string();
    let open = File::open(file).map_err(|e| Error::io(what.clone(), e))?;
    Plan::parse(&what, &read_bounded(&what, open, MAX_PLAN)?)
}

fn write(file: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |e| Error::io(file.display().to_string(), e);
    let mut aside = Aside::beside(file).map_err(failed)?;
    aside.file_mut().write_all(bytes).map_err(failed)?;
    aside.commit().map_err(failed)
}

/// The part of a plan that is about `repos`; all of it where none is named.
fn chosen(plan: Plan, repos: &[RepoName]) -> Result<Plan, Failure> {
    for repo in repos {
        if plan
            .repositories
            .iter()
            .all(|one| one.repository != repo.as_str())
        {
            let why = "the plan does not contain it";
            return Err(Error::invalid("repository", repo.as_str(), why).into());
        }
    }
    let is_meant = |one: &RepoPlan| {
        repos.is_empty() || repos.iter().any(|repo| repo.as_str() == one.repository)
    };
    Ok(Plan::new(
        plan.repositories.into_iter().filter(is_meant).collect(),
    ))
}

fn apply(s: &mut Session<'_, '_>, args: &PruneAliases, plan: &Plan) -> Result<(), Failure> {
    let mut done = Vec::new();
    let mut failed = None;
    for one in &plan.repositories {
        let applied = apply_one(s, args, one);
        match applied {
            Ok(applied) => done.push(applied),
            Err(failure) => {
                failed = Some(failure.at(&format!("repository {}", one.repository)));
                break;
            }
        }
    }
    show(s, plan, Some(&done))?;
    if let Some(failure) = failed {
        return Err(failure);
    }
    let wrong: usize = done.iter().map(|one| one.wrong.len()).sum();
    match wrong {
        0 => Ok(()),
        wrong => Err(Failure::Damaged(format!(
            "{wrong} blobs and manifests of the aliases that were kept are missing or wrong; \
             verify-alias --all names them"
        ))),
    }
}

fn apply_one(
    s: &Session<'_, '_>,
    args: &PruneAliases,
    plan: &RepoPlan,
) -> Result<Applied, Failure> {
    let repo: RepoName = plan.repository.parse()?;
    let store = s.store(repo.clone())?;
    let backup = args.backup.as_deref().map(|word| backup(s, word, &repo));
    let backup = backup.transpose()?;
    if let (Some(_), Root::Registry(host)) = (&backup, s.root()?)
        && collects_at_once(host)
    {
        s.console.warn(&format!(
            "{host} frees blobs as soon as nothing names them: the backup has manifests only, and \
             restores nothing there; copy-image the aliases first to keep their blobs"
        ));
    }
    let applied = prune::apply(&*store, plan, backup.as_ref(), s.run());
    applied.map_err(|error| match refuses(&error) {
        true => Error::NotAllowed {
            what: format!("{error}; {}", way_of(s.context.root.as_ref())),
        }
        .into(),
        false => error.into(),
    })
}

fn backup(s: &Session<'_, '_>, word: &str, repo: &RepoName) -> Result<Layout, Failure> {
    match word.parse()? {
        Root::Folder(folder) => Ok(s.folders(&folder).repository(repo)),
        Root::Registry(_) => Err(Error::invalid(
            "--backup",
            word,
            "it takes oci:FOLDER, such as oci:./removed",
        )
        .into()),
    }
}

/// Registries that are known to collect garbage all the time.
fn collects_at_once(host: &Host) -> bool {
    let name = host.name();
    let ends = [".pkg.dev", "gcr.io", ".amazonaws.com"];
    ends.iter().any(|end| name.ends_with(end))
}

/// Whether an error says that the registry deletes nothing for us.
fn refuses(error: &Error) -> bool {
    matches!(
        error.what(),
        Error::NotAllowed { .. } | Error::Unsupported { .. }
    ) || matches!(error.status(), Some(400 | 403 | 405 | 501))
}

/// How images are deleted where the registry's API does not.
fn way_of(root: Option<&Root>) -> &'static str {
    let name = match root {
        Some(Root::Registry(host)) => host.name(),
        _ => "",
    };
    let is = |end: &str| name == end || name.ends_with(&format!(".{end}"));
    if is("docker.io") || is("docker.com") {
        "Docker Hub deletes tags on its web pages and in its own API \
         (DELETE https://hub.docker.com/v2/namespaces/NAME/repositories/REPO/tags/TAG)"
    } else if is("ghcr.io") {
        "GitHub deletes package versions: gh api -X DELETE \
         /user/packages/container/NAME/versions/ID, or the action delete-package-versions"
    } else if name.ends_with(".amazonaws.com") || is("public.ecr.aws") {
        "ECR deletes with: aws ecr batch-delete-image --repository-name REPO --image-ids \
         imageTag=TAG, or a lifecycle policy"
    } else {
        "the distribution registry deletes where REGISTRY_STORAGE_DELETE_ENABLED=true is set; \
         Harbor needs a role that may delete artifacts, and no immutability rule for the tag"
    }
}

fn show(s: &mut Session<'_, '_>, plan: &Plan, done: Option<&[Applied]>) -> Result<(), Failure> {
    let of = |at: usize| done.and_then(|done| done.get(at));
    let plans = plan.repositories.iter().enumerate();
    if s.context.shape == Shape::Json {
        let all: Vec<Value> = plans
            .map(|(at, one)| value(one, of(at)))
            .collect::<Result<_>>()?;
        return s.line(json::python(&json!(all)));
    }
    for (at, one) in plans {
        if done.is_none() || of(at).is_some() {
            text(s, one, of(at))?;
        }
    }
    Ok(())
}

fn value(plan: &RepoPlan, done: Option<&Applied>) -> Result<Value> {
    let mut value = serde_json::to_value(plan).map_err(|e| Error::malformed("plan", e))?;
    if let Some(done) = done {
        let left = done
            .left
            .iter()
            .map(|one| json!({"tag": one.tag, "reason": one.reason}));
        let left: Vec<Value> = left.collect();
        value["deleted"] = json!(done.deleted);
        value["gone"] = json!(done.gone);
        value["left"] = json!(left);
        value["verified"] = json!(done.kept);
        value["wrong"] = json!(done.wrong.len());
    }
    Ok(value)
}

fn text(s: &mut Session<'_, '_>, plan: &RepoPlan, done: Option<&Applied>) -> Result<(), Failure> {
    let row = |what: &str, tag: &str, digest: String, reason: &str| {
        let words = [what, &plan.repository, tag, &digest, reason];
        words.map(str::to_string).to_vec()
    };
    let mut rows = Vec::new();
    for one in &plan.delete {
        let left = done.and_then(|done| done.left.iter().find(|left| left.tag == one.tag));
        rows.push(match left {
            Some(left) => row("left", &one.tag, one.digest.to_string(), &left.reason),
            None => row("delete", &one.tag, one.digest.to_string(), &one.reason),
        });
    }
    for one in &plan.with {
        let tag = one.tag.as_deref().unwrap_or("-");
        rows.push(row(
            "delete",
            tag,
            one.digest.to_string(),
            "refers to a deleted image",
        ));
    }
    for one in &plan.unknown {
        rows.push(row(
            "unknown",
            &one.tag,
            one.digest.to_string(),
            &one.reason,
        ));
    }
    s.table(&rows, &[])?;
    s.console.line(&summary(plan, done));
    Ok(())
}

fn summary(plan: &RepoPlan, done: Option<&Applied>) -> String {
    let (repo, all, bytes) = (&plan.repository, plan.tags, size::show(plan.bytes));
    let freed = match plan.store.starts_with("oci:") {
        true => "dxf gc then frees",
        false => "the registry's garbage collection then frees",
    };
    let Some(done) = done else {
        let count = plan.delete.len();
        let said = format!("{repo}: would delete {count} of {all} aliases");
        return match count {
            0 => said,
            _ => format!("{said}; {freed} {bytes}"),
        };
    };
    let (count, kept) = (done.deleted.len(), done.kept);
    let mut said = format!("{repo}: deleted {count} of {all} aliases");
    match done.left.len() {
        0 => {}
        left => said += &format!(", left {left}"),
    }
    match done.gone.len() {
        0 => {}
        gone => said += &format!(", {gone} no longer existed"),
    }
    let were = if kept == 1 { "was" } else { "were" };
    said += &match done.wrong.len() {
        0 => format!("; {kept} {were} kept and verified"),
        wrong => format!("; {kept} {were} kept, but {wrong} of their blobs are missing or wrong"),
    };
    match count {
        0 => said,
        _ => said + &format!("; {freed} {bytes}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_registry_has_its_own_way_to_delete() {
        for (host, way) in [
            ("docker.io", "hub.docker.com"),
            ("registry-1.docker.io", "hub.docker.com"),
            ("ghcr.io", "gh api"),
            ("1.dkr.ecr.eu-west-1.amazonaws.com", "aws ecr"),
            ("harbor.example", "Harbor"),
            ("registry.example:5000", "REGISTRY_STORAGE_DELETE_ENABLED"),
            ("notghcr.io", "Harbor"),
        ] {
            let said = way_of(Some(&Root::Registry(host.parse().unwrap())));
            assert!(said.contains(way), "{host}: {said}");
        }
        let at_once = |host: &str| collects_at_once(&host.parse().unwrap());
        assert!(at_once("europe-docker.pkg.dev") && at_once("eu.gcr.io"));
        assert!(!at_once("registry.example"));
    }
}
