package query_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// world is a company's ninety days, made by the server itself: 1,000 users of whom
// some 40 work at a time, few of them most of the time, 20 accounts, 30 roles, each with
// a session of two hours, real operations by their frequency. One call in 50
// is denied; of the others CloudTrail has all but a few, and it has a few that
// never came through postern.
type world struct {
	rows int // of requests, and of CloudTrail's records
}

const worldDays = 90

// chunk is how many calls go into one insert: those of three hours, so that calls and
// their verdicts are merged as they are where both come day by day.
func (w world) chunk() int { return max(1, w.rows/(worldDays*8)) }

// at is the time of a call, evenly spread up to the last midnight.
func (w world) at(shift string) string {
	return fmt.Sprintf(`fromUnixTimestamp64Micro(toInt64(toUnixTimestamp64Micro(toDateTime64(today() - %d, 6, 'UTC')) + number * %d + %s), 'UTC')`,
		worldDays, worldDays*24*3600*1_000_000/w.rows, shift)
}

// call gives names to what both sides of a call have in common.
const call = `WITH
	toUInt64(sipHash64(number, 1)) AS h, toUInt64(sipHash64(intDiv(number, 2000), h % 40)) AS who, intDiv(number, 20000) AS shift,
	toUInt32(floor(1000 * pow((who % 10000) / 10000, 2))) AS u,
	concat('user', toString(u)) AS name, toString(100000000000 + u % 20) AS acc,
	concat('Role', toString(u % 30)) AS role,
	multiIf(h % 100 < 45, 1, h % 100 < 60, 2, h % 100 < 70, 3, h % 100 < 78, 4, 5 + h % 12) AS op,
	['s3', 's3', 'dynamodb', 'dynamodb', 's3', 'ec2', 'sts', 'lambda', 'logs', 'iam', 'kms', 'sqs', 'ssm', 'ecs', 'sns', 'cloudwatch'][op] AS service,
	['GetObject', 'PutObject', 'Query', 'GetItem', 'ListObjectsV2', 'DescribeInstances', 'GetCallerIdentity', 'Invoke', 'FilterLogEvents', 'GetRole', 'Decrypt', 'ReceiveMessage', 'GetParameter', 'DescribeTasks', 'Publish', 'GetMetricData'][op] AS operation,
	['eu-central-1', 'us-east-1', 'eu-west-1'][1 + u % 3] AS region,
	if(service = 's3', upper(hex(sipHash64(number, 2))), toString(reinterpretAsUUID(sipHash128(number, 2)))) AS aws_id,
	toString(reinterpretAsUUID(sipHash128(number, 3))) AS event_id,
	multiIf(service = 's3', concat('arn:aws:s3:::team', toString(u % 120), '-data', if(operation = 'ListObjectsV2', '', concat('/y=2026/part-', toString(h % 5000), '.parquet'))),
		service = 'dynamodb', concat('arn:aws:dynamodb:', region, ':', acc, ':table/T', toString(u % 40)), '') AS resource,
	concat('ASIA', upper(hex(sipHash64(u, intDiv(number, 100000))))) AS access_key,
	number % 50 = 0 AS denied, concat('S', upper(hex(sipHash128(u, shift)))) AS session`

// ulid makes an id as postern's are: of the time in t, and of chance.
func ulid() string {
	var b strings.Builder
	b.WriteString("concat(")
	for shift := 45; shift >= 0; shift -= 5 {
		fmt.Fprintf(&b, "substring('0123456789ABCDEFGHJKMNPQRSTVWXYZ', 1 + bitAnd(bitShiftRight(toUnixTimestamp64Milli(t), %d), 31), 1), ", shift)
	}
	return b.String() + "upper(hex(sipHash64(number, 4))))"
}

// statements fill the tables with calls from one number on.
func (w world) statements(from, n int) []string {
	of := fmt.Sprintf(` FROM numbers(%d, %d)`, from, n)
	verdict := `multiIf(number % 5000 = 7, 'missing', number % 20000 = 11, 'mismatched', 'matched')`
	request := call + `, ` + w.at("0") + ` AS t, ` + w.at("150000") + ` AS theirs, ` + ulid() + ` AS id `
	record := call + `, ` + w.at("150000") + ` AS theirs, ` + w.at("0") + ` AS t, ` + ulid() + ` AS id `
	return []string{
		`INSERT INTO request_rows (received_at, request_id, outcome, user, session_id, app, aws_role_arn, role_session_name, source_identity, access_key_id, account, partition, region, service, signing_name, operation, action, access_level, resources, method, host, path, client_addr, user_agent, proxy, role, status, aws_request_id, error_code, request_bytes, response_bytes, latency_us, duration_us, cause, reason, admitted_event_id) ` + request + `
		SELECT t, id, if(denied, 'denied', 'completed'), name, session, 'awsconsole', concat('arn:aws:iam::', acc, ':role/', role), name, name, access_key, acc, 'aws', region, service, service, operation, concat(service, ':', operation), 'Read', if(resource = '', [], [resource]),
			if(operation = 'GetObject', 'GET', 'POST'), concat(service, '.', region, '.amazonaws.com'), '/', concat('10.0.', toString(u % 200), '.7:', toString(40000 + h % 20000)), concat('aws-cli/2.', toString(u % 30)), concat('proxy', toString(number % 3)), concat('team', toString(u % 10)),
			multiIf(denied, 0, h % 33 = 0, 404, 200), if(denied, '', aws_id), multiIf(denied, 'AccessDenied', h % 33 = 0, 'NoSuchKey', ''), h % 900, h % 100000, 20000 + h % 90000, 21000 + h % 90000, if(denied, 'role', ''), if(denied, 'no role allows it', ''), if(denied, '', concat(substring(id, 1, 10), upper(hex(sipHash64(number, 5)))))` + of,
		`INSERT INTO request_rows (received_at, request_id, verdict, judged, verdict_at, cloudtrail_account, cloudtrail_event_id, cloudtrail_time) ` + request + `
		SELECT t, id, ` + verdict + ` AS v, concat('9\trequest_id\t', if(v = 'missing', 'no record came in 20m0s', '')), t + INTERVAL 9 MINUTE, if(v = 'missing', '', acc), if(v = 'missing', '', event_id), if(v = 'missing', toDateTime64(0, 6, 'UTC'), theirs)` + of + ` WHERE NOT denied`,
		`INSERT INTO cloudtrail_rows (event_time, recipient_account_id, event_id, event_version, event_type, event_category, event_source, event_name, aws_region, request_id, identity_type, principal_id, identity_arn, identity_account_id, access_key_id, issuer_arn, role_session_name, source_identity, federated_user, federated_rule, source_ip_address, user_agent, error_code, read_only, management_event, resources, file, record, present) ` + record + `
		SELECT theirs, acc, event_id, '1.09', 'AwsApiCall', if(service = 's3', 'Data', 'Management'), concat(service, '.amazonaws.com'), operation, region, aws_id, 'AssumedRole', concat('AROA', upper(hex(sipHash64(role))), ':', name), concat('arn:aws:sts::', acc, ':assumed-role/', role, '/', name), acc, access_key, concat('arn:aws:iam::', acc, ':role/', role), name, name, name, 'source_identity', concat('10.0.', toString(u % 200), '.7'), concat('aws-cli/2.', toString(u % 30)), if(h % 33 = 0, 'NoSuchKey', ''), 1, service != 's3', if(resource = '', [], [resource]),
			concat('s3://trail/AWSLogs/', acc, '/CloudTrail/', region, '/', formatDateTime(theirs, '%Y/%m/%d/'), acc, '_CloudTrail_', region, '_', formatDateTime(theirs, '%Y%m%dT%H00Z'), '.json.gz'),
			concat('{"eventVersion":"1.09","userIdentity":{"type":"AssumedRole","principalId":"AROA', upper(hex(sipHash64(role))), ':', name, '","arn":"arn:aws:sts::', acc, ':assumed-role/', role, '/', name, '","accountId":"', acc, '","accessKeyId":"', access_key, '","sessionContext":{"sessionIssuer":{"type":"Role","principalId":"AROA', upper(hex(sipHash64(role))), '","arn":"arn:aws:iam::', acc, ':role/', role, '","accountId":"', acc, '","userName":"', role, '"},"attributes":{"creationDate":"', formatDateTime(theirs, '%Y-%m-%dT%H:00:00Z'), '","mfaAuthenticated":"false"},"sourceIdentity":"', name, '"}},"eventTime":"', formatDateTime(theirs, '%Y-%m-%dT%H:%i:%SZ'), '","eventSource":"', service, '.amazonaws.com","eventName":"', operation, '","awsRegion":"', region, '","sourceIPAddress":"10.0.', toString(u % 200), '.7","userAgent":"aws-cli/2.', toString(u % 30), ' md/awscrt#0.23 ua/2.0 os/linux md/arch#x86_64 lang/python#3.12 cfg/retry-mode#standard","requestParameters":{"bucketName":"team', toString(u % 120), '-data","key":"', resource, '","Host":"', service, '.', region, '.amazonaws.com"},"responseElements":null,"additionalEventData":{"SignatureVersion":"SigV4","CipherSuite":"TLS_AES_128_GCM_SHA256","bytesTransferredIn":0,"AuthenticationMethod":"AuthHeader","x-amz-id-2":"', base64Encode(reinterpretAsString(sipHash128(number, 6))), base64Encode(reinterpretAsString(sipHash128(number, 7))), '","bytesTransferredOut":', toString(h % 100000), '},"requestID":"', aws_id, '","eventID":"', event_id, '","readOnly":true,"resources":[{"type":"AWS::S3::Object","ARN":"', resource, '"},{"accountId":"', acc, '","type":"AWS::S3::Bucket","ARN":"arn:aws:s3:::team', toString(u % 120), '-data"}],"eventType":"AwsApiCall","managementEvent":false,"recipientAccountId":"', acc, '","eventCategory":"Data","tlsDetails":{"tlsVersion":"TLSv1.3","cipherSuite":"TLS_AES_128_GCM_SHA256","clientProvidedHostHeader":"', service, '.', region, '.amazonaws.com"}}'), 1` + of,
		`INSERT INTO cloudtrail_rows (event_time, recipient_account_id, event_id, verdict, judged, verdict_at, postern_request_id, postern_received_at) ` + record + `
		SELECT theirs, acc, event_id, multiIf(number % 20000 = 11, 'mismatched', number % 10000 = 3, 'bypass', number % 100 = 0, 'console', 'matched') AS v, '9\trequest_id\t', theirs + INTERVAL 9 MINUTE, if(v IN ('matched', 'mismatched'), id, ''), if(v IN ('matched', 'mismatched'), t, toDateTime64(0, 6, 'UTC'))` + of + ` WHERE number % 5000 != 7 AND number % 100 != 50`,
		`INSERT INTO events (stream, seq, stored_at, event_id, type, source, channel, thing, event_time, correlation_id, causation_id, sequence, raw) ` + request + `
		SELECT 'AUDIT', number + 1, t + INTERVAL 2 MILLISECOND, concat(substring(id, 1, 10), upper(hex(sipHash64(number, 5)))) AS e, if(denied, 'io.postern.aws.request.denied.v1', 'io.postern.aws.request.admitted.v1') AS type, '/proxy/p', concat('audit.request.', acc, '.', service, '.', operation), concat('request/', id), t, id, '', 0,
			concat('{"specversion":"1.0","id":"', e, '","source":"/proxy/p","type":"', type, '","subject":"request/', id, '","time":"', formatDateTime(t, '%Y-%m-%dT%H:%i:%SZ'), '","correlationid":"', id, '","datacontenttype":"application/json","data":{"request_id":"', id, '","user":"', name, '","session_id":"', session, '","app":"awsconsole","aws_role_arn":"arn:aws:iam::', acc, ':role/', role, '","account":"', acc, '","region":"', region, '","service":"', service, '","operation":"', operation, '","resources":["', resource, '"],"method":"GET","host":"', service, '.', region, '.amazonaws.com","path":"/","user_agent":"aws-cli/2"}}')` + of,
		`INSERT INTO events (stream, seq, stored_at, event_id, type, source, channel, thing, event_time, correlation_id, causation_id, sequence, raw, signature) ` + request + `
		SELECT 'ACCESS', ` + fmt.Sprint(from) + ` + row_number() OVER (ORDER BY session), min(t) AS began, concat('E', session), 'io.postern.session.started.v1', '/broker', concat('access.session.', session), concat('session/', session), began, session, '', 0,
			concat('{"specversion":"1.0","id":"E', session, '","source":"/broker","type":"io.postern.session.started.v1","subject":"session/', session, '","time":"', formatDateTime(began, '%Y-%m-%dT%H:%i:%SZ'), '","correlationid":"', session, '","data":{"session_id":"', session, '","user":"', any(name), '","app":"awsconsole","aws_role_arn":"', any(concat('arn:aws:iam::', acc, ':role/', role)), '","account":"', any(acc), '","region":"', any(region), '","role_session_name":"', any(name), '","source_identity":"', any(name), '","roles":[{"name":"', any(role), '","revision":7}],"request_ids":[],"client_addr":"10.0.0.1:9","started_at":"', formatDateTime(began, '%Y-%m-%dT%H:%i:%SZ'), '","expires_at":"', formatDateTime(began + INTERVAL 8 HOUR, '%Y-%m-%dT%H:%i:%SZ'), '"}}'), 'valid'` + of + ` GROUP BY session`,
		`INSERT INTO finding_rows (finding_id, kind, severity, user, account, recipient_account_id, event_id, summary, opened_at) ` + record + `
		SELECT concat('bypass/', event_id), 'bypass', 'high', name, acc, acc, event_id, concat(operation, ' around postern'), theirs` + of + ` WHERE number % 10000 = 3`,
	}
}

// fill makes what is missing of the world: a database that was filled to the end
// before is left as it is.
func (w world) fill(b *testing.B, conn clickhouse.Conn) {
	b.Helper()
	if err := conn.Exec(b.Context(), `CREATE TABLE IF NOT EXISTS world (until UInt64, of UInt64) ENGINE = MergeTree ORDER BY until`); err != nil {
		b.Fatal(err)
	}
	var done, of uint64
	if err := conn.QueryRow(b.Context(), `SELECT max(until), max(of) FROM world`).Scan(&done, &of); err != nil {
		b.Fatal(err)
	}
	if of != 0 && of != uint64(w.rows) { // a larger one lies denser in time
		b.Fatalf("the directory holds a world of %d rows, or a part of it: give one of %d a directory of its own", of, w.rows)
	}
	ctx := clickhouse.Context(b.Context(), clickhouse.WithSettings(clickhouse.Settings{
		"max_partitions_per_insert_block": 0, "min_insert_block_size_rows": 250_000, "max_insert_threads": 1, "max_threads": 1, "max_block_size": 50_000,
	}))
	for from := int(done); from < w.rows; from += w.chunk() {
		n := min(w.chunk(), w.rows-from)
		for _, q := range w.statements(from, n) {
			if err := conn.Exec(ctx, q); err != nil {
				b.Fatalf("%.60s: %v", q, err)
			}
		}
		if err := conn.Exec(ctx, fmt.Sprintf(`INSERT INTO world (until, of) VALUES (%d, %d)`, from+n, w.rows)); err != nil {
			b.Fatal(err)
		}
	}
	// A month that is over is one part a day later, and so are all here but the last.
	var over []string
	err := conn.QueryRow(b.Context(), `SELECT groupArray(concat('OPTIMIZE TABLE ', table, ' PARTITION ID ''', partition_id, ''' FINAL'))
		FROM (SELECT table, partition_id FROM system.parts WHERE active AND database = currentDatabase() AND table IN ('request_rows', 'cloudtrail_rows')
			AND partition_id < toString(toYYYYMM(today() - 1)) GROUP BY ALL HAVING count() > 1)`).Scan(&over)
	if err != nil {
		b.Fatal(err)
	}
	long, cancel := context.WithTimeout(ctx, time.Hour) // without it the driver waits for five minutes
	defer cancel()
	for _, q := range over {
		if err := conn.Exec(long, q); err != nil {
			b.Fatalf("%s: %v", q, err)
		}
	}
}

// sample is a call to ask about; no two questions have the same one.
type sample struct{ id, awsID, event, session string }

func (w world) samples(b *testing.B, conn clickhouse.Conn) []sample {
	b.Helper()
	var out []sample
	for i := range tries {
		n := w.rows/(tries+1)*(i+1)/50*50 + 13 // of no special kind
		q := call + `, ` + w.at("0") + ` AS t, ` + ulid() + ` AS id SELECT id, aws_id, event_id, session FROM numbers(` + fmt.Sprint(n) + `, 1)`
		var s sample
		if err := conn.QueryRow(b.Context(), q).Scan(&s.id, &s.awsID, &s.event, &s.session); err != nil {
			b.Fatal(err)
		}
		out = append(out, s)
	}
	return out
}
