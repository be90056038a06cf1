//go:build !race

package inproc

// raceDetector: see the other file.
const raceDetector = false
