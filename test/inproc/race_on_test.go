//go:build race

package inproc

// raceDetector makes work on bytes ten times as slow: tests of sizes take smaller ones.
const raceDetector = true
