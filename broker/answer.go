package broker

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/resource"
)

// decode reads a JSON body strictly: one value, no unknown field, no more
// bytes than maxBody. The error is an *api.Error.
func decode(c *call, into any) error {
	if t, _, err := mime.ParseMediaType(c.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return &api.Error{Status: http.StatusUnsupportedMediaType, Code: api.CodeInvalid,
			Message: "the body must be application/json"}
	}
	d := json.NewDecoder(c.Body)
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil {
		if _, more := d.Token(); more != io.EOF {
			err = errors.New("something follows the JSON value")
		}
	}
	var tooLarge *http.MaxBytesError
	var wrongType *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &tooLarge):
		return bodyTooLarge()
	case errors.As(err, &wrongType):
		at := ""
		if wrongType.Field != "" {
			at = wrongType.Field + ": "
		}
		return invalid("body: %swant %s, not %s", at, wanting(wrongType.Type), strings.NewReplacer("array", "a list", "object", "keys and values", "bool", "true or false", "string", "text").Replace(wrongType.Value))
	case errors.Is(err, io.EOF):
		return invalid("body: it is empty")
	}
	return invalid("body: %s", strings.TrimPrefix(err.Error(), "json: "))
}

// wanting is what JSON has for a type.
func wanting(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return wanting(t.Elem())
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Struct, reflect.Map:
		if t == reflect.TypeFor[time.Time]() {
			return "a time such as 2026-01-31T18:00:00Z"
		}
		return "keys and values"
	}
	return "a whole number"
}

func bodyTooLarge() *api.Error {
	return &api.Error{Status: http.StatusRequestEntityTooLarge, Code: api.CodeTooLarge,
		Message: fmt.Sprintf("the body has more than %d bytes", maxBody)}
}

func invalid(format string, args ...any) *api.Error {
	return &api.Error{Status: http.StatusBadRequest, Code: api.CodeInvalid, Message: fmt.Sprintf(format, args...)}
}

// duration reads a duration that a person wrote, which may be in days or weeks; empty is 0.
func duration(field, s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	d, err := resource.ParseDuration(s)
	if err != nil {
		return 0, invalid("%s: %v", field, err)
	}
	return d, nil
}

func (b *Broker) answer(w http.ResponseWriter, req *http.Request, v any) {
	w.Header().Set("Cache-Control", "no-store")
	status := http.StatusOK
	if c, ok := v.(created); ok {
		status, v = http.StatusCreated, c.body
	}
	if v == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	t, ok := v.(text)
	if !ok {
		body, err := json.Marshal(v)
		if err != nil {
			b.fail(w, req, fmt.Errorf("answer: %w", err))
			return
		}
		t = text{"application/json", append(body, '\n')}
	}
	if t.mediaType != "" {
		w.Header().Set("Content-Type", t.mediaType)
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(t.body)))
	w.WriteHeader(status)
	_, _ = w.Write(t.body) // the client has gone: nobody is left to tell
}

func (b *Broker) fail(w http.ResponseWriter, req *http.Request, err error) {
	e := asAPI(err)
	if e.Status >= 500 && !errors.Is(err, errReading) {
		b.log.Error().Err(err).Str("method", req.Method).Str("path", req.URL.Path).Msg("request failed")
	}
	body, merr := json.Marshal(api.ErrorBody{Error: e})
	if merr != nil {
		body = []byte(`{"error":{"code":"internal","message":"internal error"}}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if e.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(e.RetryAfter))
	}
	w.WriteHeader(e.Status)
	_, _ = w.Write(append(body, '\n'))
}

// asAPI maps every error to what the client is told.
func asAPI(err error) *api.Error {
	var e *api.Error
	if errors.As(err, &e) {
		return e
	}
	var refusal *access.Error
	if errors.As(err, &refusal) {
		status := map[access.Code]int{
			access.Invalid:  http.StatusBadRequest,
			access.Denied:   http.StatusForbidden,
			access.Locked:   http.StatusForbidden,
			access.NotFound: http.StatusNotFound,
			access.Exists:   http.StatusConflict,
			access.Conflict: http.StatusConflict,
			access.NoFactor: http.StatusUnauthorized,
		}[refusal.Code]
		return &api.Error{Status: status, Code: string(refusal.Code), Message: refusal.Message, Details: refusal.Details, Next: refusal.Next,
			RequestableRoles: refusal.Roles, RequestID: refusal.RequestID}
	}
	// What is left is the journal out of reach, or a fault of ours.
	return &api.Error{Status: http.StatusServiceUnavailable, Code: api.CodeUnavailable, Message: err.Error()}
}
