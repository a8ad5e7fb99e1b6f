//! `completions`: a script that completes words in a shell.

use std::io::Write;

use clap::{CommandFactory, ValueEnum};
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
        Shell::Zsh => script.replace(ZSH_END, ZSH),
        Shell::Fish => format!("{script}{FISH}"),
        _ => script.into_owned(),
    };
    out.write_all(script.as_bytes()).map_err(stdout)
}

/// Adds the names in `DXF_HOST` to what clap's script completes. Bash takes `:`
/// and `@` for ends of words, so only what follows them is given back.
const BASH: &str = r#"
_dxf_names() {
    _dxf "$@"
    local line=${COMP_LINE:0:COMP_POINT} words word head name found=()
    read -ra words <<< "$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    word=${words[-1]}
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

/// The end of clap's script for zsh, and the same with the names in `DXF_HOST`.
const ZSH_END: &str = r#"if [ "$funcstack[1]" = "_dxf" ]; then
    _dxf "$@"
else
    compdef _dxf dxf
fi"#;
const ZSH: &str = r#"_dxf_names() {
    local -a found
    if (( CURRENT > 2 )) && [[ $words[CURRENT] != -* ]]; then
        found=(${(f)"$(dxf __complete "${(@)words[2,CURRENT]}" 2>/dev/null)"})
        (( $#found )) && compadd -- $found && return
    fi
    _dxf "$@"
}

if [ "$funcstack[1]" = "_dxf" ]; then
    _dxf_names "$@"
else
    compdef _dxf_names dxf
fi"#;

/// The names in `DXF_HOST`, for fish.
const FISH: &str = r#"
complete -c dxf -n 'not string match -q -- "-*" (commandline -ct)' -a '(dxf __complete (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)'
"#;
