"""The Open Inference Protocol (KServe V2) over REST: its requests and replies, its metadata, its parameters.

Pure functions between bytes, JSON documents, manifests and arrays; `service.routes.open_inference` has the paths. The
protocol: https://github.com/kserve/open-inference-protocol. Tensors as raw bytes behind the JSON are its binary tensor
data extension, as Triton Inference Server defines it (docs/protocol/extension_binary_data.md), and so are the other
extensions named in `metadata.EXTENSIONS`.
"""
