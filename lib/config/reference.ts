/** Writes the conf file's schema for others: as a JSON Schema for editors, and as the reference page for readers. */
import { z } from 'zod'
import { toml } from './describe.js'
import type { AllModules } from './load.js'
import { OUTSIDE } from './outside.js'
import { list, text, type Kind, type Schema } from './schema.js'
import { host as hostSchema, server as serverSchema } from './server.js'

const INCLUDE = list(text()).default([])
  .says('More files with settings, such as ["conf.d/*.toml"]. Tables are merged; a setting that is set twice is an error.')

/** The settings of a module outside the package. The server checks them; an editor cannot. */
const OTHER = { type: ['boolean', 'object'] }

/** A conf file that may have modules outside the package: it says where they are, or an included file may do so. */
const NAMES_OTHERS = {
  anyOf: [
    { required: ['include'] },
    { required: ['modules'], properties: { modules: { anyOf: Object.keys(OUTSIDE).map(name => ({ required: [name] })) } } },
  ],
}

/** Refuses all other names of modules, so that an editor reports a wrong one. */
function onlyModules (names: readonly string[]): object {
  return {
    properties: {
      modules: { propertyNames: { enum: [...Object.keys(OUTSIDE), ...names] } },
      host: { additionalProperties: { properties: { modules: { propertyNames: { enum: names } } } } },
    },
  }
}

/** Returns the conf file's JSON Schema (draft 7, the version that TOML editors read). */
export function jsonSchema (modules: AllModules): object {
  const names = [...modules.keys()].sort()
  const byName = Object.fromEntries(names.map(name => [name, { $ref: `#/definitions/module-${name}` }]))
  return {
    $schema: 'http://json-schema.org/draft-07/schema#',
    title: 'The conf file of Sestina',
    type: 'object',
    properties: {
      include: jsonOf(INCLUDE),
      ...jsonOfAll(serverSchema),
      modules: {
        description: 'The modules that every host runs.',
        type: 'object',
        properties: { ...jsonOfAll(OUTSIDE), ...byName },
        additionalProperties: OTHER,
      },
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
    if: NAMES_OTHERS,
    else: onlyModules(names),
    definitions: {
      modules: {
        type: 'object',
        properties: byName,
        additionalProperties: OTHER,
      },
      ...Object.fromEntries(names.map(name => [`module-${name}`, jsonOfModule(modules.get(name)?.settings ?? {})])),
    },
  }
}

/** Returns the reference of every setting in Markdown, for docs/configuration.md. */
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
    'Every module is on unless its section says otherwise, so a conf file names only what differs. `[modules]` applies to every host, ' +
    '`[host."example.org".modules]` to one: `name = false` turns a module off, `name = true` turns it on, and `name = { … }` turns it on with settings.',
    '### `[modules]`', 'Modules outside the package are found by these settings; [Writing a module](writing-a-module.md#a-module-outside-the-tree) says how. ' +
    'They are on unless the conf file turns them off, and are set like all others.',
    rowsOf(OUTSIDE),
    ...[...modules].sort(([a], [b]) => a < b ? -1 : 1).flatMap(([name, { settings = {}, isOff }]) =>
      [`### \`${name}\``, isOff === true ? 'This module is off unless the conf file turns it on.' : '',
        Object.keys(settings).length === 0 ? 'This module has no settings.' : rowsOf(settings)]),
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
  // A required setting may be under [modules] or in the host's table, so neither table alone has to have it.
  return { anyOf: [{ type: 'boolean' }, { type: 'object', properties: jsonOfAll(schema), additionalProperties: false }] }
}

function jsonOfAll (schema: Schema): Readonly<Record<string, object>> {
  return Object.fromEntries(Object.entries(schema).flatMap(([name, kind]) => {
    const json = jsonOf(kind)
    return [[name, json], ...kind.former.map(former => [former, deprecated(name, json)] as const)]
  }))
}

/** Returns the schema of a former name. Draft 7 has no `deprecated`, but editors know it from later drafts. */
function deprecated (name: string, json: Readonly<Record<string, unknown>>): object {
  const text = `A former name of ${name}: write ${name}.`
  const { default: _, ...kept } = json
  return { ...kept, description: text, deprecated: true, deprecationMessage: text }
}

function jsonOf (kind: Kind<unknown>): Readonly<Record<string, unknown>> {
  const { $schema, ...json } = z.toJSONSchema(kind.zod({ folder: '/', env: () => undefined, file: () => '' }), { io: 'input', target: 'draft-7' })
  const { fields, item } = kind
  if (fields !== undefined) {
    // A setting that may be written by a former name is not required: the server checks that one of them is there.
    const required = json.required?.filter(name => fields[name]?.former.length === 0)
    return { ...json, properties: jsonOfAll(fields), ...required && { required } }
  }
  if (item === undefined) return json
  return json.type === 'array' ? { ...json, items: jsonOf(item) } : { ...json, additionalProperties: jsonOf(item) }
}
