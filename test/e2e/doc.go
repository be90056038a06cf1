// Package e2e starts real processes of the spex binary on loopback, kills
// them, and checks what clients were told against what the cluster holds.
//
// Run it with
//
//	go test -tags e2e ./test/e2e/ -v          # everything, about 10 minutes
//	go test -tags e2e ./test/e2e/ -short      # the selection of CI
//
// A test that fails leaves its directory behind, with the logs of every
// process, and names it.
package e2e
