/** The schema told to others: to editors as a JSON Schema, to readers as the reference page. */
import { z } from 'zod'
import { toml } from './describe.js'
import type { AllModules } from './load.js'
import { list, text, type Kind, type Schema } from './schema.js'
import { host as hostSchema, server as serverSchema } from './server.js'

const INCLUDE = list(text()).default([])
  .says('More files with settings, such as ["conf.d/*.toml"]. Tables are merged; what is set twice is an error.')

/** The conf file's JSON Schema (draft 7, which editors of TOML read). */
export function jsonSchema (modules: AllModules): object {
  const names = [...modules.keys()].sort()
  return {
    $schema: 'http://json-schema.org/draft-07/schema#',
    title: 'The conf file of Sestina',
    type: 'object',
    properties: {
      include: jsonOf(INCLUDE),
      ...jsonOfAll(serverSchema),
      modules: { description: 'The modules every host runs.', $ref: '#/definitions/modules' },
      host: {
        description: 'The hosts, by domain.',
        type: 'object',
        additionalProperties: {
          type: 'object',
          properties: { ...jsonOfAll(hostSchema), modules: { description: 'The modules of this host.', $ref: '#/definitions/modules' } },
          additionalProperties: false,
        },
      },
    },
    required: ['host'],
    additionalProperties: false,
    definitions: {
      modules: {
        type: 'object',
        properties: Object.fromEntries(names.map(name => [name, { $ref: `#/definitions/module-${name}` }])),
        additionalProperties: false,
      },
      ...Object.fromEntries(names.map(name => [`module-${name}`, jsonOfModule(modules.get(name)?.settings ?? {})])),
    },
  }
}

/** The reference of every setting, in Markdown: docs/configuration.md. */
export function configReference (modules: AllModules): string {
  const single = Object.entries(serverSchema).filter(([, kind]) => tableIn(kind) === undefined)
  const tables = Object.entries(serverSchema).filter(([, kind]) => tableIn(kind) !== undefined)
  const parts = [
    '## Settings of the server', rowsOf({ include: INCLUDE, ...Object.fromEntries(single) }),
    ...tables.flatMap(([name, kind]) => {
      const header = kind.item === undefined ? `[${name}]` : `[[${name}]]`
      return [`### \`${header}\``, kind.sentence, rowsOf(tableIn(kind) ?? {})]
    }),
    '## Settings of a host', '### `[host."example.org"]`', rowsOf(hostSchema),
    '## Settings of modules',
    'Every module is on unless its section says otherwise, so a conf names only what differs. `[modules]` holds for every host, ' +
    '`[host."example.org".modules]` for one: `name = false` turns a module off, `name = true` turns it on, and `name = { … }` turns it on with settings.',
    ...[...modules].sort(([a], [b]) => a < b ? -1 : 1).flatMap(([name, { settings = {}, isOff }]) =>
      [`### \`${name}\``, isOff === true ? 'It is off unless the conf turns it on.' : '',
        Object.keys(settings).length === 0 ? 'It has no settings.' : rowsOf(settings)]),
  ]
  return parts.filter(part => part !== '').join('\n\n') + '\n'
}

function tableIn (kind: Kind<unknown>): Schema | undefined {
  return kind.fields ?? kind.item?.fields
}

function rowsOf (schema: Schema): string {
  return ['| setting | kind | default | what it does |', '|---|---|---|---|', ...linesOf(schema, '')].join('\n')
}

function linesOf (schema: Schema, above: string): string[] {
  return Object.entries(schema).flatMap(([name, kind]) => {
    const inner = tableIn(kind)
    if (inner === undefined) return [line(above + name, kind)]
    if (kind.item === undefined) return linesOf(inner, `${above}${name}.`)
    return [line(above + name, kind), ...linesOf(inner, `${above}${name}${kind.called.startsWith('list') ? '[]' : '."…"'}.`)]
  })
}

function line (name: string, kind: Kind<unknown>): string {
  const fallback = kind.written === undefined ? kind.required ? '**required**' : 'none' : `\`${toml(kind.written)}\``
  return `| ${[`\`${name}\``, kind.called, fallback, kind.sentence].map(cell => cell.replaceAll('|', '\\|')).join(' | ')} |`
}

function jsonOfModule (schema: Schema): object {
  // What is required may stand under [modules] while the host's table says something else, so no single table has to have it.
  return { anyOf: [{ type: 'boolean' }, { type: 'object', properties: jsonOfAll(schema), additionalProperties: false }] }
}

function jsonOfAll (schema: Schema): Readonly<Record<string, object>> {
  return Object.fromEntries(Object.entries(schema).map(([name, kind]) => [name, jsonOf(kind)]))
}

function jsonOf (kind: Kind<unknown>): object {
  const { $schema, ...json } = z.toJSONSchema(kind.zod({ folder: '/', env: () => undefined, file: () => '' }), { io: 'input', target: 'draft-7' })
  return json
}
