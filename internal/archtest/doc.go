// Package archtest has no code of its own: its tests hold the repository to its
// architecture, package by package.
package archtest
