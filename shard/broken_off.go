//go:build !spexbroken

package shard

// loseTail is for builds that break their promises; see package internal/broken.
func loseTail(Config) {}
