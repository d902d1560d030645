# AWS is a mock; the layer and the function are built for real. `terraform test` in this directory.

mock_provider "aws" {
  mock_resource "aws_iam_role" {
    defaults = {
      arn = "arn:aws:iam::123456789012:role/test"
    }
  }
  mock_resource "aws_lambda_layer_version" {
    defaults = {
      arn = "arn:aws:lambda:us-east-1:123456789012:layer:test:1"
    }
  }
  mock_resource "aws_lambda_function" {
    defaults = {
      arn = "arn:aws:lambda:us-east-1:123456789012:function:test"
    }
  }
  mock_resource "aws_s3_bucket" {
    defaults = {
      arn = "arn:aws:s3:::documents-of-a-test"
    }
  }
  mock_resource "aws_cloudwatch_log_group" {
    defaults = {
      arn = "arn:aws:logs:us-east-1:123456789012:log-group:test"
    }
  }
}

variables {
  environment = "test"
  bucket      = "documents-of-a-test"
}

run "builds_and_publishes" {
  assert {
    condition     = can(regex("^[0-9a-f]{64}$", module.document_processor.layer_sha256))
    error_message = "no layer was built"
  }
  assert {
    condition     = output.layer == "arn:aws:lambda:us-east-1:123456789012:layer:test:1"
    error_message = "the layer was not published"
  }
}

run "nothing_changes_when_nothing_changed" {
  assert {
    condition     = module.document_processor.layer_sha256 == run.builds_and_publishes.layer_sha256
    error_message = "the same inputs gave another layer"
  }
}
