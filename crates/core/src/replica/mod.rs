//! One partition's replica on this node: epochs, high watermark, waiting acknowledgements.
