package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/rs/zerolog"
)

// Of a browser that does not return, such as one that was not running before, the command
// waits for no more than that it has come for the link.
func TestConsoleLeavesTheBrowser(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl stands for a browser, and is not on PATH")
	}
	dir := t.TempDir()
	pipe, browser := filepath.Join(dir, "pipe"), filepath.Join(dir, "browser")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(browser, []byte("#!/bin/sh\ncurl -s -o /dev/null \"$1\"\nread closed <"+pipe+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("BROWSER", browser)
	if err := openBrowser(t.Context(), "https://console.example.com/", zerolog.Nop()); err != nil {
		t.Error(err)
	}
	w, err := os.OpenFile(pipe, os.O_WRONLY, 0) // it is still open, and closed now
	if err != nil {
		t.Fatal(err)
	}
	w.Close()

	for _, none := range []string{"none", filepath.Join(dir, "absent"), "false"} {
		t.Setenv("BROWSER", none)
		if err := openBrowser(t.Context(), "https://console.example.com/", zerolog.Nop()); err == nil {
			t.Errorf("BROWSER=%s opened one", none)
		}
	}
}
