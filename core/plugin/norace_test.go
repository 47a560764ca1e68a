//go:build !race

package plugin

const raceAllocs = 0.0
