/** Hosts that are services: which modules run there, and what is refused. */
import t from 'tap'
import { count } from '../../lib/config/schema.js'
import type { AllModules } from '../../lib/config/load.js'
import { load, problemsOf } from './conf.js'

const MODULES: AllModules = new Map([
  ['roster', {}],
  ['disco', { at: 'everywhere' }],
  ['echo', { at: 'services', requires: ['disco'], settings: { most: count().default(10).says('The most occupants.') } }],
  ['files', { at: 'services' }],
])
const PEOPLE = '[host."example.org"]\n'
const problems = (test: Parameters<typeof problemsOf>[0], text: string): string[] =>
  problemsOf(test, text, undefined, MODULES)

t.test('a service runs the modules that serve it and those for all hosts; a host with accounts runs no service', async t => {
  const { hosts } = load(t, `${PEOPLE}[host."echo.example.org"]\nservice = "echo"\n`, undefined, MODULES)
  t.same([...hosts.values()].map(({ service, modules }) => [service, [...modules.keys()]]), [
    [undefined, ['roster', 'disco']], [['echo'], ['disco', 'echo']],
  ])
})

t.test('several modules may serve one host, with settings of the host or of all hosts', async t => {
  const text = `${PEOPLE}[modules]\necho = { most = 3 }\n[host."echo.example.org"]\nservice = ["echo", "files"]\n`
  const service = load(t, text, undefined, MODULES).hosts.get('echo.example.org')
  t.same([...service?.modules ?? []], [['disco', {}], ['echo', { most: 3 }], ['files', {}]])
  const own = load(t, `${text}[host."echo.example.org".modules]\necho = { most = 4 }\n`, undefined, MODULES)
  t.same(own.hosts.get('echo.example.org')?.modules.get('echo'), { most: 4 })
})

t.test('an unknown service is named with its place, and so is a module that serves no host', async t => {
  const service = (value: string): string => `${PEOPLE}[host."echo.example.org"]\nservice = ${value}\n`
  t.same(problems(t, service('"echoes"')), ["sestina.toml:3:11: there is no module 'echoes'; did you mean 'echo'?"])
  t.same(problems(t, service('["echo", "roster"]')), ['sestina.toml:3:11: roster serves no host of its own'])
  t.match(problems(t, service('3')), [/^sestina.toml:3:11: .*service: 3 is not the name of a module/])
  t.match(problems(t, service('[]')), [/^sestina.toml:3:11: .*service/])
})

t.test('a module that cannot run at a host is refused there, unless it is turned off', async t => {
  const own = (host: string, line: string): string => `${PEOPLE}[host."echo.example.org"]\nservice = "echo"\n[host."${host}".modules]\n${line}\n`
  t.same(problems(t, own('echo.example.org', 'roster = true')), ['sestina.toml:5:10: roster is for accounts, and echo.example.org is a service'])
  t.same(problems(t, own('example.org', 'echo = true')), ['sestina.toml:5:8: echo serves hosts of its own: name it there, service = "echo"'])
  t.same(problems(t, own('echo.example.org', 'roster = false\nfiles = false')), [])
  t.same(problems(t, own('echo.example.org', 'echo = false')), ['sestina.toml:3:11: echo is off, and serves this host'])
  t.match(problems(t, own('echo.example.org', 'disco = false')), [/disco is off, and echo requires it/])
})

t.test('the bounds of entities are for services', async t => {
  const bounds = 'entities = 500\nentityBytes = "2MiB"\n'
  t.same(problems(t, `${PEOPLE}[host."rooms.example.net"]\nservice = "echo"\n${bounds}`), [])
  t.same(problems(t, `[host."example.net"]\n${bounds}`), [
    'sestina.toml:2:12: entities is for hosts with service', 'sestina.toml:3:15: entityBytes is for hosts with service',
  ])
})

t.test('the parent of a service is a host with accounts', async t => {
  const parent = (host: string, domain: string): string => `${PEOPLE}[host."rooms.example.net"]\nservice = "echo"\n[host."${host}"]\nparent = "${domain}"\n`
  t.same(problems(t, parent('rooms.example.net2', 'example.org')), ['sestina.toml:5:10: parent is for hosts with service'])
  const own = `${PEOPLE}[host."rooms.example.net"]\nservice = "echo"\nparent = `
  t.same(problems(t, `${own}"example.org"\n`), [])
  t.same(problems(t, `${own}"example.or"\n`), ["sestina.toml:4:10: 'example.or' is not a host with accounts; did you mean 'example.org'?"])
  t.match(problems(t, `${own}"rooms.example.net"\n`), [/is not a host with accounts/])
})
