/** Writes completion scripts for shells, with the words and options of the command itself. */
import type { Command } from 'commander'

export const SHELLS = ['bash', 'zsh', 'fish'] as const

/** A subcommand, a choice for an argument, or an option, with its description. */
interface Word { readonly name: string, readonly about: string }
/** The subcommands, choices and options that may follow the words in `path`. */
interface Place { readonly path: string, readonly commands: readonly Word[], readonly options: readonly Word[] }

/** Returns a script that the shell reads when it starts. */
export function completion (program: Command, shell: typeof SHELLS[number]): string {
  const name = program.name()
  // The longest path comes first: `s2s test` before `s2s`.
  const places = placesIn(program, '').sort((a, b) => b.path.length - a.path.length)
  return shell === 'bash' ? bash(name, places) : shell === 'zsh' ? zsh(name, places) : fish(name, places)
}

function placesIn (command: Command, path: string): Place[] {
  const options = command.createHelp().visibleOptions(command).map(({ long, description }) => ({ name: long ?? '', about: description }))
  const choices = command.registeredArguments
    .flatMap(({ argChoices = [], description }) => argChoices.map(name => ({ name, about: description })))
  const commands = [...command.commands.map(each => ({ name: each.name(), about: each.description() })), ...choices]
  return [{ path, commands, options }, ...command.commands.flatMap(each => placesIn(each, `${path}${each.name()} `))]
}

/** Puts a text in single quotes, for any shell. */
function quoted (text: string): string { return `'${text.replaceAll('\'', '’')}'` }

/** Returns a pattern for `case`. It matches the path and all words after it; an empty path matches only itself. */
function pattern (path: string): string { return path === '' ? quoted('') : `${quoted(path)}*` }

function bash (name: string, places: readonly Place[]): string {
  const cases = places.map(({ path, commands, options }) => `    ${pattern(path)}) words=${quoted([...commands, ...options].map(word => word.name).join(' '))} ;;`)
  return `_${name} () {
  local word=\${COMP_WORDS[COMP_CWORD]} path= words= at
  for ((at = 1; at < COMP_CWORD; at++)); do
    [[ \${COMP_WORDS[at]} == -* || \${COMP_WORDS[at - 1]} == --conf ]] || path+="\${COMP_WORDS[at]} "
  done
  case $path in
${cases.join('\n')}
  esac
  COMPREPLY=()
  [[ \${COMP_WORDS[COMP_CWORD - 1]} == --conf ]] || mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}
complete -o default -F _${name} ${name}
`
}

function zsh (name: string, places: readonly Place[]): string {
  const cases = places.map(({ path, commands, options }) =>
    `    ${pattern(path)}) found=(${[...commands, ...options].map(word => quoted(`${word.name}:${word.about}`)).join(' ')}) ;;`)
  return `#compdef ${name}
_${name} () {
  local -a found
  local word last= given=
  for word in \${words[2,CURRENT-1]}; do
    [[ $word == -* || $last == --conf ]] || given+="$word "
    last=$word
  done
  case $given in
${cases.join('\n')}
  esac
  if [[ \${words[CURRENT-1]} == --conf ]]; then _files; else _describe ${name} found || _files; fi
}
if [[ $funcstack[1] == _${name} ]]; then _${name}; else compdef _${name} ${name}; fi
`
}

function fish (name: string, places: readonly Place[]): string {
  const lines = places.flatMap(({ path, commands, options }) => [
    ...commands.map(word => `complete -c ${name} -f -n ${quoted(`__${name}_given "${path}"`)} -a ${word.name} -d ${quoted(word.about)}`),
    ...options.map(word => `complete -c ${name} -n ${quoted(`__${name}_given "${path}${path === '' ? '' : '*'}"`)} -l ${word.name.slice(2)} -d ${quoted(word.about)}` +
      (word.name === '--conf' ? ' -r' : '')),
  ])
  return `function __${name}_given
    set -l given
    set -l last
    for word in (commandline -opc)[2..-1]
        string match -q -- '-*' $word; or test "$last" = --conf; or set given "$given$word "
        set last $word
    end
    string match -q -- "$argv[1]" "$given"
end
${lines.join('\n')}
`
}
