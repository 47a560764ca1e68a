//go:build race

package plugin

// raceAllocs is what the race detector adds: pools lose what they are given now and then.
const raceAllocs = 4.0
