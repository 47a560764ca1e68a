// Command trainer is where a person types. The process a person starts is the launcher: it
// reads flags, checks files, chooses a backend with the help of child processes, starts a
// worker and shows what the worker reports; it never loads a backend. The worker is this
// program again: it loads one backend, does one job, and reports every event and how it
// ended over a pipe. Only an explicit final record counts as an end.
//
// What may enter: flags, terminals, processes and the introduction of llama to training.
// What may not: numerics, file formats, and anything another program might want to import.
package main
