// Package e2e starts real processes of the spex binary, on loopback or each in a
// network namespace of its own, kills them, cuts them off, and checks what
// clients were told against what the cluster holds.
//
// Run it with
//
//	go test -tags e2e ./test/e2e/ -timeout 2h -v       # everything, about half an hour
//	go test -tags e2e ./test/e2e/ -timeout 15m -short  # the selection of CI
//
// A test that fails leaves its directory behind, with the logs of every
// process, and names it.
package e2e
