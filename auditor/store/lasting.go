package store

import (
	"crypto/tls"
	"crypto/x509"
	"errors"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// Codes of ClickHouse's errors
// (https://github.com/ClickHouse/ClickHouse/blob/master/src/Common/ErrorCodes.cpp).
const (
	codeBadArguments     = 36
	codeSyntax           = 62
	codeReadOnly         = 164
	codeUnknownUser      = 192
	codeWrongPassword    = 193
	codeNoPassword       = 194
	codeAccessDenied     = 497
	codeAuthentication   = 516
	codeUnknownSetting   = 115
	codeUnknownCluster   = 170
	codeNoSuchCluster    = 701
	codeUnknownFunction  = 46
	codeUnknownStorage   = 56
	codeUnknownType      = 50
	codeSupportDisabled  = 344
	codeNotImplemented   = 48
	codeSettingForbidden = 452
)

// passing are the codes of errors that go by themselves: the server, its disk or
// its Keeper is short of something.
var passing = map[int32]bool{
	3: true, 159: true, 202: true, 209: true, 210: true, 225: true, 236: true, 241: true, 242: true, 243: true, 252: true, 279: true, 285: true,
	287: true, 319: true, 335: true, 373: true, 394: true, 415: true, 571: true, 574: true, 722: true, 734: true, 745: true, 999: true,
}

// Lasting says whether trying again can't mend an error of Migrate, and what to
// do then.
func Lasting(err error) (nextStep string, lasting bool) {
	if errors.Is(err, ErrForeign) {
		return "use the version of postern that made it, or another database in clickhouse.dsn", true
	}
	if errors.Is(err, ErrOrigin) {
		return "give clickhouse.dsn a database of its own, which is filled from the streams, or restore the streams that these tables are of", true
	}
	if errors.Is(err, ErrReaderWrites) {
		return "give it SELECT on the database and nothing else, or the setting readonly = 1", true
	}
	if errors.Is(err, ErrNewer) {
		return "update this auditor: one of an earlier version must not write to them", true
	}
	if errors.Is(err, ErrShards) {
		return "say clickhouse.sharded: true to spread rows over them (docs/tables.md), or name a cluster of one shard in clickhouse.cluster", true
	}
	if errors.Is(err, ErrShard) {
		return "see docs/tables.md, \"Several shards\"", true
	}
	if errors.Is(err, ErrGrown) {
		return "start this auditor again", true
	}
	if errors.Is(err, ErrTiers) {
		return "see clickhouse.tiers, and docs/tables.md for what the server needs", true
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "the server's certificate is not trusted: see tls options of clickhouse.dsn", true
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "the server's certificate is not trusted: see tls options of clickhouse.dsn", true
	}
	e, ok := errors.AsType[*clickhouse.Exception](err)
	if !ok || passing[e.Code] {
		return "", false
	}
	switch e.Code {
	case codeUnknownUser, codeWrongPassword, codeNoPassword, codeAuthentication:
		return "check user and password of clickhouse.dsn", true
	case codeAccessDenied, codeReadOnly, codeSettingForbidden:
		return "the user of clickhouse.dsn must be allowed to make, alter and write tables of its database", true
	case codeUnknownCluster, codeNoSuchCluster:
		return "clickhouse.cluster must name a cluster of the server's remote_servers", true
	case codeSyntax, codeUnknownSetting, codeUnknownFunction, codeUnknownStorage, codeUnknownType, codeSupportDisabled, codeNotImplemented:
		return "the server is likely too old for this version of postern: update ClickHouse", true
	case codeBadArguments:
		return "the server can't apply it as it is configured", true
	}
	return "the database is not as postern's migrations left it: mend it, or give another one in clickhouse.dsn", true
}
