package sigv4

import (
	"encoding/hex"
	"errors"
)

func asError(err error, e **Error) bool { return errors.As(err, e) }

func hexOf(sum [32]byte) string { return hex.EncodeToString(sum[:]) }
