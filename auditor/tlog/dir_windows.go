package tlog

import (
	"context"
	"errors"

	"github.com/transparency-dev/tessera"
)

// openDir: the user's commands run on Windows, auditors do not.
func openDir(context.Context, string) (tessera.Driver, error) {
	return nil, errors.New("transparency logs need a POSIX file system: run the auditor elsewhere")
}
