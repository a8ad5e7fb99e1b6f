//! `completions`: a script that completes words in a shell.

use std::io::Write;

use clap::{Arg, CommandFactory, ValueEnum, ValueHint};
use clap_complete::Shell;
use dxf_registry::Error;

use crate::cli::args::{self, Cli, Words};
use crate::cli::exit::Failure;
use crate::cli::out::console::{Out, stdout};

/// `completions <shell>`
pub fn run(out: &mut Out<'_>, words: &Words) -> Result<(), Failure> {
    let name = args::text(&words.take(1, 1)?[0])?;
    let shell = Shell::from_str(name, true).map_err(|_| {
        let shells: Vec<String> = Shell::value_variants()
            .iter()
            .map(Shell::to_string)
            .collect();
        Error::invalid("shell", name, format!("it takes {}", shells.join(", ")))
    })?;
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "dxf", &mut script);
    let script = String::from_utf8_lossy(&script);
    let script = match shell {
        Shell::Bash => format!("{script}{BASH}"),
        Shell::Zsh => for_zsh(&script).replace(ZSH_END, ZSH),
        Shell::Fish => format!("{script}{}{FISH}", values()),
        _ => script.into_owned(),
    };
    out.write_all(script.as_bytes()).map_err(stdout)
}

/// clap's script for zsh, without what keeps zsh from completing options: arguments
/// without an action, arguments that take all words after them, and colons in the
/// names of values.
fn for_zsh(script: &str) -> String {
    let script = script.replacen("_dxf() {", "_dxf_words() {", 1);
    let mut all = String::new();
    for line in script.lines() {
        let mut line = line.to_string();
        if line.starts_with("':") || line.starts_with("'*:") {
            if let Some(argument) = line.strip_suffix(":' \\") {
                line = format!("{argument}:_dxf_nothing' \\");
            }
            line = line.replacen("'*::", "'*:", 1);
            if let Some((name, about)) = line.split_once(" -- ") {
                line = format!("{} -- {about}", escaped(name));
            }
        }
        if let (true, Some((about, value))) = (line.starts_with('\''), line.split_once("]:")) {
            line = format!("{about}]:{}", value.replace("[:", "[\\:"));
        }
        all += &line;
        all.push('\n');
    }
    all
}

/// The beginning of an argument for zsh, which takes a colon for the end of it.
fn escaped(argument: &str) -> String {
    let start = argument.rfind(['\'', '*']).map_or(0, |at| at + 1);
    let (lead, name) = argument.split_at(start);
    let colons = name.len() - name.trim_start_matches(':').len();
    let (more, name) = name.split_at(colons);
    format!("{lead}{more}{}", name.replace(':', "\\:"))
}

/// Lines for fish with the words that arguments can be, and without files where none of
/// them is one, which clap's script lacks.
fn values() -> String {
    let mut all = Cli::command();
    all.build();
    let mut lines = String::new();
    for command in all.get_subcommands() {
        let values = command.get_positionals().flat_map(Arg::get_possible_values);
        let values: Vec<String> = values.map(|value| value.get_name().to_string()).collect();
        let mut hints = command.get_positionals().map(Arg::get_value_hint);
        let name = command.get_name();
        let lead = format!("complete -c dxf -n \"__fish_dxf_using_subcommand {name}\" -f");
        if !values.is_empty() {
            lines += &format!("{lead} -a \"{}\"\n", values.join(" "));
        } else if hints.all(|hint| matches!(hint, ValueHint::Other | ValueHint::Hostname)) {
            lines += &format!("{lead}\n");
        }
    }
    lines
}

/// Adds the names in `DXF_HOST` to what clap's script completes, and leaves options out
/// until a dash is typed: bash would insert it, and offer no files. Bash takes `:` and
/// `@` for ends of words, so only what follows them is given back.
const BASH: &str = r#"
_dxf_names() {
    _dxf "$@"
    local line=${COMP_LINE:0:COMP_POINT} words word head name found=()
    read -ra words <<< "$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    word=${words[-1]}
    if [[ $word != -* ]]; then
        for name in "${COMPREPLY[@]}"; do
            [[ $name == -* ]] || found+=("$name")
        done
        COMPREPLY=("${found[@]}") found=()
    fi
    [[ ${#words[@]} -gt 2 && $word != -* ]] || return 0
    head=${word%"${word##*[:@]}"}
    while IFS= read -r name; do
        found+=("${name#"$head"}")
    done < <("${words[0]}" __complete "${words[@]:1}" 2>/dev/null)
    if [[ ${#found[@]} -gt 0 ]]; then
        COMPREPLY=("${found[@]}")
    fi
}
complete -F _dxf_names -o bashdefault -o default dxf
"#;

/// The end of clap's script for zsh, and the same with the names in `DXF_HOST`. The
/// function that zsh calls has the name of the file.
const ZSH_END: &str = r#"if [ "$funcstack[1]" = "_dxf" ]; then
    _dxf "$@"
else
    compdef _dxf dxf
fi"#;
const ZSH: &str = r#"_dxf_nothing() { return 1; }
_dxf() {
    local -a found
    if (( CURRENT > 2 )) && [[ $words[CURRENT] != -* ]]; then
        found=(${(f)"$(dxf __complete "${(@)words[2,CURRENT]}" 2>/dev/null)"})
        (( $#found )) && compadd -- $found && return
    fi
    _dxf_words "$@"
}

if [ "$funcstack[1]" = "_dxf" ]; then
    _dxf "$@"
else
    compdef _dxf dxf
fi"#;

/// The names in `DXF_HOST`, for fish.
const FISH: &str = r#"
complete -c dxf -n 'not string match -q -- "-*" (commandline -ct)' -a '(dxf __complete (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)'
"#;
