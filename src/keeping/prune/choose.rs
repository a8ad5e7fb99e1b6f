//! Which tags go: rules in, a verdict for each tag out. Nothing is read here.
//!
//! A tag is kept if one rule keeps it, and if no rule is about it: rules that keep
//! names say nothing about the other names. Tags of one
//! manifest with one age count as one, as restic's snapshots do.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::rules::{LastTag, Rules};
use crate::digest::Digest;
use crate::error::Result;
use crate::inventory::Version;

/// A tag, as the rules see it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Aged {
    /// The tag.
    pub tag: String,
    /// The digest of its manifest.
    pub digest: Digest,
    /// When that was made, seconds since 1970; `None` where that is unknown.
    pub created: Option<i64>,
}

impl Aged {
    /// A tag of a manifest that was made at `created`.
    pub fn new(tag: impl Into<String>, digest: Digest, created: Option<i64>) -> Aged {
        let tag = tag.into();
        Aged {
            tag,
            digest,
            created,
        }
    }
}

/// What becomes of a tag, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It stays.
    Keep(String),
    /// It stays, because its age is not known.
    Unknown,
    /// It goes.
    Delete(String),
}

impl Verdict {
    /// Whether the tag goes.
    pub fn is_delete(&self) -> bool {
        matches!(self, Verdict::Delete(_))
    }

    /// Why, in words.
    pub fn reason(&self) -> &str {
        match self {
            Verdict::Keep(why) | Verdict::Delete(why) => why,
            Verdict::Unknown => "its age is unknown",
        }
    }
}

impl Rules {
    /// Whether a rule says that something goes: one of ages, or names of candidates.
    pub fn chooses(&self) -> bool {
        self.ages() || !self.only.is_empty() || self.last_tag == LastTag::Delete
    }

    /// What becomes of each of `tags`, in their order. `now` is in seconds since
    /// 1970; ages after it are unknown.
    ///
    /// # Errors
    /// As [`Rules::check`].
    pub fn choose(&self, tags: &[Aged], now: i64) -> Result<Vec<Verdict>> {
        self.check()?;
        let mut verdicts: Vec<Option<Verdict>> = vec![None; tags.len()];
        let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (at, tag) in tags.iter().enumerate() {
            verdicts[at] = self.by_name(&tag.tag);
            let Some(group) = self.group(&tag.tag) else {
                let why = "--group-by does not match it".to_string();
                verdicts[at] = verdicts[at].take().or(Some(Verdict::Keep(why)));
                continue;
            };
            // What --only leaves out takes no other's place.
            if self.is_candidate(&tag.tag) {
                if tag.created.is_some_and(|created| created <= now) {
                    groups.entry(group).or_default().push(at);
                } else if self.ages() && verdicts[at].is_none() {
                    verdicts[at] = Some(Verdict::Unknown);
                }
            }
        }
        for group in groups.into_values() {
            for (at, why) in self.by_age(tags, group) {
                verdicts[at] = verdicts[at].take().or(Some(Verdict::Keep(why)));
            }
        }
        let rest = match self.chooses() {
            true => Verdict::Delete("no rule keeps it".to_string()),
            false => Verdict::Keep("no rule applies to it; --only GLOB selects it".to_string()),
        };
        let verdicts = verdicts.into_iter().map(|one| one.unwrap_or(rest.clone()));
        let mut verdicts: Vec<Verdict> = verdicts.collect();
        self.bound(tags, &mut verdicts);
        Ok(verdicts)
    }

    fn is_candidate(&self, tag: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only.matches(tag))
    }

    /// The rules that look at nothing but the name.
    fn by_name(&self, tag: &str) -> Option<Verdict> {
        if !self.is_candidate(tag) {
            return Some(Verdict::Keep(NOT_NAMED.into()));
        }
        if let Some(glob) = self.keep.iter().find(|glob| glob.matches(tag)) {
            return Some(Verdict::Keep(format!("--keep {glob}")));
        }
        let version = Version::parse(tag)?.strict()?;
        let found = self
            .versions
            .iter()
            .find(|(_, range)| range.matches(&version));
        found.map(|(text, _)| Verdict::Keep(format!("--keep-semver {text}")))
    }

    fn group(&self, tag: &str) -> Option<String> {
        let Some(regex) = &self.group_by else {
            return Some(String::new());
        };
        let found = regex.captures(tag)?;
        if found.len() == 1 {
            return found.get(0).map(|all| all.as_str().to_string());
        }
        let parts = found.iter().skip(1).flatten().map(|part| part.as_str());
        Some(parts.collect::<Vec<_>>().join("\0"))
    }

    /// The tags of a group that are young enough, with the rule that says so.
    fn by_age(&self, tags: &[Aged], mut group: Vec<usize>) -> Vec<(usize, String)> {
        let key = |at: usize| (tags[at].created.unwrap_or(i64::MIN), tags[at].digest);
        group.sort_by_key(|at| std::cmp::Reverse(key(*at)));
        let mut snapshots: Vec<(i64, Digest)> = group.iter().map(|at| key(*at)).collect();
        snapshots.dedup();
        let mut kept: BTreeMap<(i64, Digest), String> = BTreeMap::new();
        for snapshot in snapshots.iter().take(self.last) {
            kept.insert(*snapshot, format!("--keep-last {}", self.last));
        }
        let newest = snapshots.first().map_or(0, |(created, _)| *created);
        if let Some(within) = self.within.filter(|within| !within.is_zero()) {
            let within = i64::try_from(within.as_secs()).unwrap_or(i64::MAX);
            let oldest = newest.saturating_sub(within);
            for snapshot in snapshots.iter().filter(|(created, _)| *created >= oldest) {
                kept.entry(*snapshot)
                    .or_insert_with(|| "--keep-within".into());
            }
        }
        for (every, count) in &self.every {
            let mut seen = HashSet::new();
            for snapshot in &snapshots {
                let is_new = !seen.contains(&every.bucket(snapshot.0));
                if is_new && seen.len() < *count {
                    seen.insert(every.bucket(snapshot.0));
                    let why = || format!("{} {count}", every.option());
                    kept.entry(*snapshot).or_insert_with(why);
                }
            }
        }
        let why = |at: usize| Some((at, kept.get(&key(at))?.clone()));
        group.into_iter().filter_map(why).collect()
    }

    /// Keeps the last tag, and what one run must not delete.
    fn bound(&self, tags: &[Aged], verdicts: &mut [Verdict]) {
        let mut gone: Vec<usize> = (0..tags.len())
            .filter(|at| verdicts[*at].is_delete())
            .collect();
        // The oldest first; what has no age, and was chosen by its name, before.
        gone.sort_by_key(|at| (tags[*at].created, tags[*at].tag.clone()));
        if gone.len() == tags.len()
            && self.last_tag == LastTag::Keep
            && let Some(newest) = gone.pop()
        {
            verdicts[newest] = Verdict::Keep("it is the last alias of the repository".into());
        }
        let most = self.max_delete.of(tags.len());
        let digests: Vec<Digest> = tags.iter().map(|one| one.digest).collect();
        let chosen = within(&digests, &gone, most);
        for at in gone.into_iter().filter(|at| !chosen.contains(at)) {
            verdicts[at] = Verdict::Keep(held(most));
        }
    }
}

/// Those of the tags at `gone`, in their order, that one run deletes: at most so many.
/// `digests` are those of all tags.
///
/// Before others, those go that leave no alias of their manifest. A registry that
/// deletes only whole manifests leaves the others where they are: every run would
/// choose the same ones, and delete nothing.
pub(super) fn within(digests: &[Digest], gone: &[usize], most: usize) -> HashSet<usize> {
    let is_gone: HashSet<usize> = gone.iter().copied().collect();
    let stay = (0..digests.len()).filter(|at| !is_gone.contains(at));
    let stay: HashSet<Digest> = stay.map(|at| digests[at]).collect();
    let mut groups: HashMap<Digest, Vec<usize>> = HashMap::new();
    for at in gone {
        groups.entry(digests[*at]).or_default().push(*at);
    }
    let mut chosen = HashSet::new();
    for at in gone {
        let group = groups.get(&digests[*at]).map_or(&[][..], Vec::as_slice);
        let is_first = group.first() == Some(at);
        let fits = chosen.len() + group.len() <= most;
        if is_first && fits && !stay.contains(&digests[*at]) {
            chosen.extend(group);
        }
    }
    for at in gone {
        if chosen.len() < most {
            chosen.insert(*at);
        }
    }
    chosen
}

/// How the reason begins why a tag stays that the next run deletes.
pub(super) const HELD: &str = "one run deletes no more than";
/// Why a tag stays that is none of the named ones.
pub(super) const NOT_NAMED: &str = "--only does not name it";

/// Why a tag stays that is one too many for one run.
pub(super) fn held(most: usize) -> String {
    format!("{HELD} {most} (--max-delete)")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{DateFormat, Every, MaxDelete, rules::DAY};
    use super::*;
    use proptest::prelude::*;

    const NOW: i64 = 1_764_374_400; // 2025-11-29

    fn aged(tag: &str, days_old: i64) -> Aged {
        let digest = Digest::of(format!("{tag} {days_old}").as_bytes());
        Aged::new(tag, digest, Some(NOW - days_old * DAY))
    }

    fn all(rules: Rules) -> Rules {
        rules.with_max_delete(MaxDelete::Percent(100))
    }

    fn kept(rules: Rules, tags: &[Aged]) -> String {
        let verdicts = rules.choose(tags, NOW).unwrap();
        let kept = tags
            .iter()
            .zip(verdicts)
            .filter(|(_, verdict)| !verdict.is_delete());
        kept.map(|(tag, _)| tag.tag.as_str())
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn daily(count: i64) -> Vec<Aged> {
        (0..count)
            .map(|age| aged(&format!("d{age}"), age))
            .collect()
    }

    #[test]
    fn each_rule_keeps_its_own() {
        let rules = || all(Rules::default());
        let tags = daily(40);
        assert_eq!(kept(rules().with_keep_last(2), &tags), "d0 d1");
        let within = Duration::from_secs(3 * 86_400);
        assert_eq!(kept(rules().with_keep_within(within), &tags), "d0 d1 d2 d3");
        // 2025-11-29 is a Saturday.
        let weekly = rules().with_keep_every(Every::Week, 3);
        assert_eq!(kept(weekly, &tags), "d0 d6 d13");
        let monthly = rules().with_keep_every(Every::Month, 5);
        assert_eq!(kept(monthly, &tags), "d0 d29");
        let yearly = rules().with_keep_every(Every::Year, 2);
        assert_eq!(kept(yearly, &tags), "d0");
        let both = rules()
            .with_keep_every(Every::Day, 2)
            .with_keep_every(Every::Week, 2);
        assert_eq!(kept(both, &tags), "d0 d1 d6");
        let named = rules().with_keep("d3?").unwrap();
        assert_eq!(kept(named.clone(), &tags).split(' ').count(), 40);
        let others = kept(named.with_only("*").unwrap(), &tags);
        assert_eq!(others.split(' ').count(), 10);
    }

    #[test]
    fn days_without_a_tag_do_not_count() {
        let tags = [0, 5, 9].map(|age| aged(&format!("d{age}"), age));
        let rules = all(Rules::default()).with_keep_every(Every::Day, 2);
        assert_eq!(kept(rules, &tags), "d0 d5");
    }

    #[test]
    fn versions_in_a_range_stay() {
        let names = [
            "v1.2.3",
            "1.9",
            "2",
            "2.0.0-rc1",
            "v3.1.0",
            "latest",
            "1.2.3.4",
        ];
        let tags = names.map(|name| aged(name, 1));
        let every = || all(Rules::default()).with_only("*").unwrap();
        let rules = |range: &str| every().with_keep_semver(range).unwrap();
        assert_eq!(kept(rules(">=1.2, <2"), &tags), "v1.2.3 1.9");
        assert_eq!(kept(rules("^2"), &tags), "2");
        assert_eq!(kept(rules("=2.0.0-rc1"), &tags), "2.0.0-rc1");
        assert!(Rules::default().with_keep_semver("one").is_err());
        // As tags are written: calendar versions, `_` for `+`, and no versions.
        let odd = [
            "2024.01.15",
            "v01.2.3",
            "1.2.3-rc.1",
            "1.2.3_build.7",
            "1.2.3-rc.1_b",
            "1..2",
            "+1.2.3",
            "v",
            "99999999999999999999.1",
        ];
        let tags = odd.map(|name| aged(name, 1));
        assert_eq!(kept(rules(">=2024"), &tags), "2024.01.15");
        assert_eq!(kept(rules("^1.2"), &tags), "v01.2.3 1.2.3_build.7");
        assert_eq!(kept(rules("=1.2.3-rc.1"), &tags), "1.2.3-rc.1 1.2.3-rc.1_b");
    }

    #[test]
    fn aliases_of_one_manifest_do_not_use_up_the_limit() {
        let same = Digest::of(b"same");
        let one = |tag: &str, days_old| Aged::new(tag, same, Some(NOW - days_old * DAY));
        let mut tags: Vec<Aged> = (0..5).map(|i| one(&format!("s{i}"), 30 - i)).collect();
        tags.extend((0..8).map(|i| aged(&format!("d{i}"), 20 - i)));
        let deleted = |tags: &[Aged], most| {
            let rules = Rules::default()
                .with_keep_last(2)
                .with_max_delete(MaxDelete::Tags(most));
            let verdicts = rules.choose(tags, NOW).unwrap();
            let gone = tags.iter().zip(verdicts);
            let gone = gone.filter(|(_, verdict)| verdict.is_delete());
            let gone: Vec<&str> = gone.map(|(one, _)| one.tag.as_str()).collect();
            gone.join(" ")
        };
        assert_eq!(deleted(&tags, 3), "d0 d1 d2");
        assert_eq!(deleted(&tags, 6), "s0 s1 s2 s3 s4 d0");
        // What others can't fill is tried: a folder deletes one alias of several.
        assert_eq!(deleted(&tags[..7], 2), "s0 s1");
        // One that is kept keeps its manifest.
        tags.push(one("now", 0));
        assert_eq!(deleted(&tags, 3), "d0 d1 d2");
        assert_eq!(deleted(&tags, 9), "s0 s1 d0 d1 d2 d3 d4 d5 d6");
    }

    #[test]
    fn globs_mean_whole_tags() {
        let names = ["v1", "v12", "xv1", "V1", "latest", "[x]", "v1.2"];
        let tags = names.map(|name| aged(name, 1));
        let every = || all(Rules::default()).with_only("*").unwrap();
        let keep = |glob: &str| kept(every().with_keep(glob).unwrap(), &tags);
        assert_eq!(keep("v[0-9]"), "v1");
        assert_eq!(keep("v[!2]*"), "v1 v12 v1.2");
        assert_eq!(keep("latest"), "latest");
        assert_eq!(keep("[[]x]"), "[x]");
        for bad in ["[", "v[", "a**b", "***"] {
            assert!(Rules::default().with_keep(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_last_of_each_branch() {
        let tags = [
            aged("main-1", 9),
            aged("main-2", 1),
            aged("dev-1", 30),
            aged("dev-2", 20),
            aged("other", 99),
        ];
        let rules = || all(Rules::default()).with_keep_last(1);
        let grouped = rules().with_group_by("^(.*)-[0-9]+$").unwrap();
        assert_eq!(kept(grouped, &tags), "main-2 dev-2 other");
        assert_eq!(kept(rules(), &tags), "main-2");
        assert_eq!(
            kept(rules().with_only("dev-*").unwrap(), &tags),
            "main-1 main-2 dev-2 other"
        );
        assert!(Rules::default().with_group_by("(").is_err());
    }

    #[test]
    fn an_unknown_age_is_kept_and_takes_no_place() {
        let mut tags = daily(3);
        tags.push(Aged::new("old?", Digest::of(b"?"), None));
        tags.push(aged("tomorrow", -1));
        let rules = all(Rules::default()).with_keep_last(1);
        assert_eq!(kept(rules.clone(), &tags), "d0 old? tomorrow");
        let verdicts = rules.choose(&tags, NOW).unwrap();
        assert_eq!(verdicts[3..], [Verdict::Unknown, Verdict::Unknown]);
    }

    #[test]
    fn tags_of_one_manifest_are_one_and_share_their_fate() {
        let mut tags = daily(3);
        tags.insert(0, Aged::new("latest", tags[0].digest, tags[0].created));
        let rules = all(Rules::default()).with_keep_last(2);
        assert_eq!(kept(rules, &tags), "latest d0 d1");
    }

    #[test]
    fn rules_that_keep_nothing_are_refused() {
        let said = |rules: Rules| rules.choose(&daily(2), NOW).unwrap_err().to_string();
        assert!(said(Rules::default()).contains("they keep nothing"));
        assert!(said(Rules::default().with_keep_last(0)).contains("they keep nothing"));
        let only = Rules::default().with_only("*").unwrap();
        assert!(said(only.clone()).contains("they keep nothing"));
        let empty = all(only).with_last_tag(LastTag::Delete);
        assert_eq!(kept(empty, &daily(2)), "");
    }

    #[test]
    fn the_last_tag_stays() {
        let every = || all(Rules::default()).with_only("*").unwrap();
        let rules = || every().with_keep("v*").unwrap();
        assert_eq!(kept(rules(), &daily(3)), "d0");
        assert_eq!(kept(rules().with_last_tag(LastTag::Delete), &daily(3)), "");
    }

    #[test]
    fn one_run_deletes_a_tenth_and_the_oldest() {
        let rules = Rules::default().with_keep_last(1);
        let deleted = |rules: Rules, tags: &[Aged]| {
            let verdicts = rules.choose(tags, NOW).unwrap();
            let gone = tags
                .iter()
                .zip(verdicts)
                .filter(|(_, verdict)| verdict.is_delete());
            gone.map(|(tag, _)| tag.tag.clone()).collect::<Vec<_>>()
        };
        assert_eq!(deleted(rules.clone(), &daily(20)), ["d18", "d19"]);
        assert_eq!(deleted(rules.clone(), &daily(3)), ["d2"]);
        let with = |text: &str| {
            rules
                .clone()
                .with_max_delete(MaxDelete::parse(text).unwrap())
        };
        assert_eq!(deleted(with("3"), &daily(20)).len(), 3);
        assert_eq!(deleted(with("50%"), &daily(20)).len(), 10);
        assert!(deleted(with("0"), &daily(20)).is_empty());
        for bad in ["", "%", "101%", "-1", "+1", "1.5", "a"] {
            assert!(MaxDelete::parse(bad).is_err(), "{bad}");
        }
    }

    fn any_rules() -> impl Strategy<Value = Rules> {
        let every = prop::collection::vec(0usize..4, 4);
        (
            0usize..5,
            0u64..30,
            every,
            prop::option::of(0u8..3),
            any::<bool>(),
        )
            .prop_map(|(last, within, every, glob, grouped)| {
                let kinds = [Every::Day, Every::Week, Every::Month, Every::Year];
                let mut rules = all(Rules::default())
                    .with_only("*")
                    .unwrap()
                    .with_keep_last(last)
                    .with_keep_within(Duration::from_secs(within * 86_400));
                for (kind, count) in kinds.into_iter().zip(every) {
                    rules = rules.with_keep_every(kind, count);
                }
                if let Some(glob) = glob {
                    rules = rules
                        .with_keep(["a*", "*1*", "b-?"][glob as usize])
                        .unwrap();
                }
                match grouped {
                    true => rules.with_group_by("^[a-z]").unwrap(),
                    false => rules,
                }
            })
    }

    fn any_tags() -> impl Strategy<Value = Vec<Aged>> {
        let one = ("[ab]-[0-9]{1,2}", 0u8..20, prop::option::of(-3i64..900));
        prop::collection::vec(one, 1..40).prop_map(|tags| {
            let mut seen = HashSet::new();
            let tags = tags
                .into_iter()
                .filter(|(tag, ..)| seen.insert(tag.clone()));
            let aged = tags.map(|(tag, digest, age)| {
                let created = age.map(|age| NOW - age * DAY / 3);
                Aged::new(tag, Digest::of(&[digest]), created)
            });
            aged.collect()
        })
    }

    proptest! {
        /// Another rule never deletes what was kept, another tag of no interest
        /// changes nothing, and the order of the tags does not matter.
        #[test]
        fn keep_beats_delete(rules in any_rules(), tags in any_tags(), name in "[ab]-[0-9]") {
            prop_assume!(rules.check().is_ok());
            let before = rules.choose(&tags, NOW).unwrap();
            let more = rules.clone().with_keep(&name).unwrap().with_keep_last(5);
            let after = more.choose(&tags, NOW).unwrap();
            for ((tag, before), after) in tags.iter().zip(&before).zip(&after) {
                let last = before.reason().contains("last alias");
                prop_assert!(!after.is_delete() || before.is_delete() || last, "{}", tag.tag);
            }
            let mut reversed = tags.clone();
            reversed.reverse();
            let mut backwards = rules.choose(&reversed, NOW).unwrap();
            backwards.reverse();
            prop_assert_eq!(&before, &backwards);
            // What is unknown is kept, and something always is.
            let ages = rules.ages();
            for (tag, verdict) in tags.iter().zip(&before) {
                let known = tag.created.is_some_and(|created| created <= NOW);
                prop_assert!(known || !ages || !verdict.is_delete());
            }
            prop_assert!(before.iter().any(|verdict| !verdict.is_delete()));
        }

        /// The newest of a group is always among those that a rule of ages keeps.
        #[test]
        fn the_newest_stays(rules in any_rules(), tags in any_tags()) {
            prop_assume!(rules.ages());
            let verdicts = rules.choose(&tags, NOW).unwrap();
            let known = tags.iter().zip(&verdicts);
            let known = known.filter(|(tag, _)| tag.created.is_some_and(|c| c <= NOW));
            if let Some((_, verdict)) = known.max_by_key(|(tag, _)| (tag.created, tag.digest)) {
                prop_assert!(!verdict.is_delete());
            }
        }

        #[test]
        fn no_rule_panics(text in "\\PC{0,12}") {
            let rules = Rules::default();
            let _ = (rules.clone().with_keep(&text), rules.clone().with_only(&text));
            let _ = (rules.clone().with_keep_semver(&text), rules.with_group_by(&text));
            let _ = (MaxDelete::parse(&text), text.parse::<DateFormat>(), Version::parse(&text));
        }
    }
}
