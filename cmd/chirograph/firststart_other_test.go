//go:build !linux || !amd64

package main

import "testing"

func TestFirstStartKilled(t *testing.T) {
	t.Skip("this test traces system calls, on Linux and amd64 only")
}
