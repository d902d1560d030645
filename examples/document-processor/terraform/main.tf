# The document processor of one environment. `terraform apply` builds, checks and publishes everything: nothing has to be
# built by hand before.

terraform {
  required_version = ">= 1.6"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
    layerwise = {
      source = "layerwise/layerwise"
    }
  }
}

variable "environment" {
  type        = string
  description = "Begins all names."
  default     = "dev"
}

variable "bucket" {
  type        = string
  description = "The bucket that documents arrive in, and results go to. It is made here."
}

module "document_processor" {
  source = "./modules/document-processor"

  name    = "${var.environment}-chatbot-document-processor"
  bucket  = var.bucket
  project = ".."
}

output "function" {
  value = module.document_processor.function_arn
}

output "layer" {
  value = module.document_processor.layer_arn
}

output "layer_code_sha256" {
  value = module.document_processor.layer_code_sha256
}
