"""From the versions we aspire to serve to the versions we do serve.

`state` names the states and their transitions; `policy` chooses the next step; `machine` turns
events into instructions, with no thread and no clock; `attempt` counts the tries of one load;
`manager` carries the instructions out, told of everything by `messages`; `pools` has the threads
that load and unload; `unrest` says when changed files are reason to try again; `monitor` announces
the states; `loader` is what is asked of those who load; `handles` is the only part a request
touches.
"""
