package sigv4

import "errors"

func asError(err error, e **Error) bool { return errors.As(err, e) }
