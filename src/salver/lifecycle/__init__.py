"""From the versions we aspire to serve to the versions we do serve.

What decides, without threads: `state` names the states and their transitions, `policy` chooses the
next step, `machine` turns events into instructions, `attempt` counts the tries of one load,
`budget` sets memory aside, `lateness` says which loads take too long, `file_changes` when changed
files are reason to try again, `room` which versions that are loaded on demand are in memory.

What acts: `manager` carries the instructions out, in a thread that takes `messages` from a
`mailbox`; `pools` has the threads that load and unload; `late_loads` sees to loads that do not
return; `residency` loads on demand, behind `placeholders`; `monitor` publishes the states;
`loader` is the protocol of loaders; `handles` is the serving map, the only part that every request
touches; `callers` are clients that wait for a configuration.
"""
