//go:build race

package rules

// raceDetector: sync.Pool, which package regexp uses, forgets at random under the race detector.
const raceDetector = true
