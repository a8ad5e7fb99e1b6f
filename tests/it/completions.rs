//! Completions, as each shell records them: commands, options, topics, and the
//! repositories and aliases of `DXF_HOST`.

use std::path::Path;

use crate::engine::missing;
use crate::support::dxf::Dxf;
use crate::support::scratch;

/// What is written, and what the shell makes of its last word.
const CASES: [(&str, &str); 7] = [
    ("dxf push-bl", "push-blob"),
    ("dxf push-blob --sp", "--split"),
    ("dxf verify-alias team/models --fa", "--fast"),
    ("dxf help larg", "large-files"),
    ("dxf cache pr", "prune"),
    ("dxf blob-size te", "team/models"),
    ("dxf get-alias team/models mon", "monday"),
];

/// Runs a script in `shell` with a store; it prints a line for each case, which
/// ends with the completed word.
/// `own` are cases of this shell alone; nothing is offered where the word is empty.
fn record(shell: &str, args: &[&str], script: &str, own: &[(&str, &str)]) {
    let program = Path::new("/usr/bin").join(shell);
    if !program.exists() {
        return missing(shell);
    }
    let cases = [&CASES[..], own].concat();
    let at = scratch();
    let host = format!("oci:{}", at.path().join("store").display());
    let push = Dxf::new().env("DXF_HOST", &host).stdin("dump");
    push.args(["push-blob", "team/models", "-", "@monday"]).ok();
    let completions = Dxf::new().args(["completions", shell]).ok();
    std::fs::write(at.path().join("_dxf"), completions.text()).unwrap();
    let dxf = Path::new(env!("CARGO_BIN_EXE_dxf")).parent().unwrap();
    let recorded = Dxf::foreign(&program)
        .current_dir(at.path())
        .env("HOME", at.path())
        .env("PATH", format!("{}:/usr/bin:/bin", dxf.display()))
        .env("DXF_HOST", &host)
        .args(args)
        .arg(script)
        .args(cases.iter().map(|(line, _)| line))
        .ok();
    let lines: Vec<&str> = recorded.text().lines().collect();
    assert_eq!(lines.len(), cases.len(), "{recorded}");
    for ((line, word), found) in cases.iter().zip(lines) {
        // zsh adds what a value follows.
        let found = found.trim_end_matches('=');
        let is_right = match *word {
            "" => found.is_empty(),
            word => found.ends_with(word),
        };
        assert!(is_right, "{line}: {found}");
    }
}

#[test]
fn bash_completes() {
    let script = r#"
        source ./_dxf
        for line in "$0" "$@"; do
            COMP_LINE=$line COMP_POINT=${#line} COMP_WORDS=($line) COMPREPLY=()
            [[ $line == *" " ]] && COMP_WORDS+=("")
            COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
            _dxf_names dxf "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
            echo "${COMPREPLY[@]}"
        done"#;
    // Where files may stand, bash offers those itself if nothing else is.
    let own = [
        ("dxf push-image ", ""),
        ("dxf push-files team/models v1 ", ""),
        ("dxf cache ", "size prune"),
        ("dxf push-blob -", "--help"),
    ];
    record("bash", &["--norc", "-c"], script, &own);
}

#[test]
fn fish_completes() {
    let script = r#"
        source ./_dxf
        for line in $argv
            complete -C $line | string split -f 1 \t | string join " "
        end
        true"#;
    // No files among aliases and repositories.
    let own = [
        ("dxf get-alias team/models ", "monday"),
        ("dxf list-aliases ", "team/models"),
        ("dxf push-files team/models v1 _d", "_dxf"),
    ];
    record("fish", &["--no-config", "-c"], script, &own);
}

#[test]
fn zsh_completes() {
    // The line as it stands after the tab, printed by the shell that has it.
    let script = r#"
        zmodload zsh/zpty
        zpty z zsh -f -i
        zpty -w z "PS1=; PS2=; fpath=($PWD \$fpath); autoload -U compinit"
        zpty -w z "compinit -u -d $PWD/dump; bindkey '^I' complete-word"
        zpty -w z "record() { print -r -- \$BUFFER > line; zle kill-buffer }"
        zpty -w z "zle -N record; bindkey '^X' record; echo re''ady"
        zpty -r z out '*ready*'
        for line in "$0" "$@"; do
            rm -f line
            zpty -w -n z "$line"$'\t'$'\C-x'
            until [[ -s line ]]; do sleep 0.05; done
            read -r found < line
            print -r -- "${found%% }"
        done
        zpty -d z"#;
    let own = [
        ("dxf push-files team/models v1 _d", "_dxf"),
        ("dxf attach team/models:monday _d", "_dxf"),
    ];
    record("zsh", &["-f", "-c"], script, &own);
}
