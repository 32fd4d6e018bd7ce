// Package cloudtrail takes in AWS's own account of events: log files of AWS
// CloudTrail, out of directories and S3, and single records, each whole, onto
// the CLOUDTRAIL stream. It checks the files against CloudTrail's digest files,
// and reads the fields of a record that postern compares and lists.
//
// Formats:
// https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-log-file-examples.html,
// https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html,
// https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-user-identity.html.
package cloudtrail
