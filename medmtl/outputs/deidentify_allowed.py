"""What of a DICOM image may stay in a de-identified copy: numbers, terms of closed lists, and what holds them.

Three further lists say what is not simply dropped: UIDs that are replaced, elements that a module requires empty, and
elements that the multi-frame modules require with a value, for which a dummy stands (actions U, Z and D of PS3.15 E).
"""

DUMMY_DATE = "19700101"
_DUMMY_TEXT = "not stated"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _terms(text: str) -> frozenset[str]:
    return frozenset(text.split("|"))


NUMBERS = _words(
    """
    SeriesNumber AcquisitionNumber InstanceNumber ImagesInAcquisition TemporalPositionIndex InStackPositionNumber
    TemporalPositionIdentifier NumberOfTemporalPositions TriggerTime DimensionIndexValues
    ImagePositionPatient ImageOrientationPatient SliceLocation SliceThickness SpacingBetweenSlices GantryDetectorTilt
    PixelSpacing Rows Columns NumberOfFrames SamplesPerPixel BitsAllocated BitsStored HighBit PixelRepresentation
    PixelPaddingValue PixelPaddingRangeLimit RescaleSlope RescaleIntercept WindowCenter WindowWidth
    LossyImageCompressionRatio KVP EchoTime EchoNumbers EchoTrainLength RepetitionTime InversionTime FlipAngle
    MagneticFieldStrength NumberOfAverages EffectiveEchoTime DiffusionBValue DiffusionGradientOrientation
    AcquisitionDuration NumberOfKSpaceTrajectories
    NumberOfSlices NumberOfTimeSlices FrameReferenceTime ActualFrameDuration ImageIndex DecayFactor
    DoseCalibrationFactor SliceSensitivityFactor ScatterFractionFactor AxialAcceptance
    """
)
"""Elements whose numbers stay. Inside a sequence of `SEQUENCES` every number of the standard stays."""

TERMS: dict[str, frozenset[str]] = {
    **dict.fromkeys(
        _words(
            """
        MultipleSpinEcho MultiPlanarExcitation PhaseContrast TimeOfFlightContrast EchoPlanarPulseSequence
        SaturationRecovery BloodSignalNulling QuadratureReceiveCoil MultiCoilElementUsed InversionRecovery
        T2Preparation PartialFourier ParallelAcquisition ConstantVolumeFlag FluoroscopyFlag TableMotion
        """
        ),
        _terms("YES|NO"),
    ),
    **{
        keyword: _terms(terms)
        for keyword, terms in {
            "Modality": "CT|MR|PT",
            "PhotometricInterpretation": "MONOCHROME1|MONOCHROME2",
            "PatientPosition": "HFS|HFP|HFDR|HFDL|FFS|FFP|FFDR|FFDL",
            "RescaleType": "HU|US",
            "BurnedInAnnotation": "NO",
            "LossyImageCompression": "00|01",
            "PresentationLUTShape": "IDENTITY|INVERSE",
            "VolumetricProperties": "VOLUME|SAMPLED|DISTORTED|MIXED",
            "VolumeBasedCalculationTechnique": "NONE|MAX_IP|MIN_IP|MULTIPLANAR|MEAN_IP|MIXED",
            "PixelPresentation": "MONOCHROME|MIXED",
            "ContentQualification": "PRODUCT|RESEARCH|SERVICE",
            "ComplexImageComponent": "MAGNITUDE|PHASE|REAL|IMAGINARY|MIXED",
            "AcquisitionContrast": (
                "T1|T2|T2_STAR|PROTON_DENSITY|DIFFUSION|PERFUSION|FLOW_ENCODED|FLUID_ATTENUATED|TAGGING|STIR|UNKNOWN"
            ),
            "MRAcquisitionType": "2D|3D",
            "ScanningSequence": "SE|IR|GR|EP|RM",
            "SequenceVariant": "SK|MTC|SS|TRSS|SP|MP|OSP|NONE",
            "DimensionOrganizationType": "3D|3D_TEMPORAL|TILED_FULL|TILED_SPARSE",
            "FrameLaterality": "R|L|U|B",
            "EchoPulseSequence": "SPIN|GRADIENT|BOTH",
            "SteadyStatePulseSequence": "FREE_PRECESSION|TRANSVERSE|TIME_REVERSED|LONGITUDINAL|NONE",
            "SpectrallySelectedSuppression": "FAT|WATER|FAT_AND_WATER|SILICON_GEL|NONE",
            "SpectrallySelectedExcitation": "WATER|FAT|NONE",
            "SpatialPresaturation": "SLAB|NONE",
            "OversamplingPhase": "2D|3D|2D_3D|NONE",
            "GeometryOfKSpaceTraversal": "RECTILINEAR|RADIAL|SPIRAL",
            "SegmentedKSpaceTraversal": "SINGLE|PARTIAL|FULL",
            "RectilinearPhaseEncodeReordering": "LINEAR|CENTRIC|SEGMENTED|REVERSE_LINEAR|REVERSE_CENTRIC",
            "CoverageOfKSpace": "FULL|CYLINDRICAL|ELLIPSOIDAL|ELLIPTICAL|WEIGHTED",
            "CardiacSynchronizationTechnique": "NONE|PROSPECTIVE|RETROSPECTIVE|PACED|REALTIME|OTHER",
            "RespiratoryMotionCompensationTechnique": (
                "NONE|BREATH_HOLD|REALTIME|GATING|TRACKING|PHASE_ORDERING|PHASE_SCANNING|RETROSPECTIVE|CORRECTION"
            ),
            "KSpaceFiltering": (
                "COSINE|COSINE_SQUARED|FERMI|GAUSSIAN|HAMMING|HANNING|LORENTZIAN|LRNTZ_GSS_TFM|RIESZ|TUKEY|"
                "USER_DEFINED|NONE"
            ),
            "ResonantNucleus": "1H|3HE|7LI|13C|19F|23NA|31P|129XE",
            "ApplicableSafetyStandardAgency": "IEC|FDA|MHW",
            "MagnetizationTransfer": "ON_RESONANCE|OFF_RESONANCE|BINOMIAL|NONE",
            "Tagging": "GRID|LINE|NONE",
            "ReceiveCoilType": "BODY|VOLUME|SURFACE|MULTICOIL|EXTREMITY",
            "TransmitCoilType": "BODY|VOLUME|SURFACE",
            "OperatingModeType": "STATIC FIELD|RF|GRADIENT",
            "OperatingMode": "IEC_NORMAL|IEC_FIRST_LEVEL|IEC_SECOND_LEVEL",
            "GradientOutputType": "DB_DT|ELECTRIC_FIELD|PER_NERVE_STIM",
            "SpecificAbsorptionRateDefinition": "IEC_WHOLE_BODY|IEC_PARTIAL_BODY|IEC_HEAD|IEC_LOCAL",
            "FlowCompensation": "ACCELERATION|VELOCITY|OTHER|NONE",
            "FlowCompensationDirection": (
                "PHASE|FREQUENCY|SLICE_SELECT|SLICE_AND_FREQ|SLICE_FREQ_PHASE|PHASE_AND_FREQ|SLICE_AND_PHASE|OTHER"
            ),
            "Spoiling": "RF|GRADIENT|RF_AND_GRADIENT|NONE",
            "PartialFourierDirection": "PHASE|FREQUENCY|SLICE_SELECT|COMBINATION",
            "ParallelAcquisitionTechnique": "PILS|SENSE|SMASH|OTHER",
            "InPlanePhaseEncodingDirection": "COLUMN|ROW|OTHER",
            "DiffusionDirectionality": "DIRECTIONAL|BMATRIX|ISOTROPIC|NONE",
            "AcquisitionType": "SEQUENCED|SPIRAL|CONSTANT_ANGLE|STATIONARY|FREE",
            "RotationDirection": "CW|CC",
            "ReconstructionAlgorithm": "FILTER_BACK_PROJ|ITERATIVE",
            "ConvolutionKernelGroup": "BRAIN|SOFT_TISSUE|LUNG|BONE|CONSTANT_ANGLE",
            "ExposureModulationType": "NONE",
            "FilterType": "WEDGE|BUTTERFLY|MULTIPLE|FLAT|SHAPED|NONE",
            "FilterMaterial": "MOLYBDENUM|ALUMINUM|COPPER|RHODIUM|NIOBIUM|EUROPIUM|LEAD|MIXED",
            "Units": (
                "CNTS|NONE|CM2|CM2ML|PCNT|CPS|BQML|MGMINML|UMOLMINML|MLMING|MLG|1CM|UMOLML|PROPCNTS|PROPCPS|MLMINML|"
                "MLML|GML|STDDEV"
            ),
            "SUVType": "BSA|BW|LBM|LBMJANMA|LBMJAMES128|IBW",
            "CountsSource": "EMISSION|TRANSMISSION",
            "SeriesType": "STATIC|DYNAMIC|GATED|WHOLE BODY|IMAGE|REPROJECTION",
            "CorrectedImage": "DECY|ATTN|SCAT|DTIM|MOTN|PMOT|CLN|RAN|RADL|DCAL|NORM",
            "DecayCorrection": "NONE|START|ADMIN",
            "CollimatorType": "NONE|RING",
        }.items()
    },
}
"""Coded strings, each with the terms that may stay (PS3.3 C.7.6, C.8.2, C.8.3, C.8.9, C.8.13 to C.8.16)."""

IMAGE_TYPES = _terms(
    "ORIGINAL|DERIVED|PRIMARY|SECONDARY|AXIAL|LOCALIZER|VOLUME|OTHER|MPR|REFORMATTED|AVERAGE|NONE|M|P|R|I|FFE|SE|"
    "M_FFE|M_SE|M_IR|NORM|DIS2D|DIS3D|MIXED|MAGNITUDE|PHASE MAP|T1|T2|MOSAIC|B0 MAP|PERFUSION|RCBF|RCBV|MTT|TTP"
)
"""Values of Image Type (0008,0008) and Frame Type (0008,9007) that stay; others become OTHER."""

REPLACED = _words(
    """
    SOPInstanceUID StudyInstanceUID SeriesInstanceUID FrameOfReferenceUID DimensionOrganizationUID IrradiationEventUID
    """
)

GROUPS = _words(
    """
    PlanePositionSequence PlaneOrientationSequence PixelMeasuresSequence PixelValueTransformationSequence
    FrameContentSequence FrameVOILUTSequence FrameAnatomySequence IrradiationEventIdentificationSequence
    CardiacSynchronizationSequence RespiratorySynchronizationSequence
    CTImageFrameTypeSequence CTAcquisitionTypeSequence CTAcquisitionDetailsSequence CTTableDynamicsSequence
    CTPositionSequence CTGeometrySequence CTReconstructionSequence CTExposureSequence CTXRayDetailsSequence
    MRImageFrameTypeSequence MRTimingAndRelatedParametersSequence OperatingModeSequence
    SpecificAbsorptionRateSequence MREchoSequence MRModifierSequence MRImagingModifierSequence
    MRReceiveCoilSequence MultiCoilDefinitionSequence MRTransmitCoilSequence MRAveragesSequence MRFOVGeometrySequence
    MRSpatialSaturationSequence MRDiffusionSequence DiffusionGradientDirectionSequence
    PETFrameTypeSequence
    """
)
"""Functional group macros (PS3.3 C.7.6.16.2, C.8.13.5, C.8.15.3) and the sequences in them."""

SEQUENCES = GROUPS | _words(
    """
    SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence DimensionOrganizationSequence
    DimensionIndexSequence UnassignedSharedConvertedAttributesSequence UnassignedPerFrameConvertedAttributesSequence
    """
)

POINTERS = frozenset({"DimensionIndexPointer", "FunctionalGroupPointer"})

EMPTY = (
    "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyID", "PatientBirthDate",
    "PatientSex", "Manufacturer", "PositionReferenceIndicator", "Laterality",
)  # fmt: skip
"""Type 2 of every image: there, without a value."""

DUMMIES: dict[str, str] = {
    **dict.fromkeys(
        _words(
            """
        Manufacturer ManufacturerModelName DeviceSerialNumber SoftwareVersions PulseSequenceName ReceiveCoilName
        MultiCoilElementName TransmitCoilName ConvolutionKernel ImageFilter
        """
        ),
        _DUMMY_TEXT,
    ),
    "ContentDate": DUMMY_DATE,
    "ContentTime": "000000",
    **dict.fromkeys(
        _words("AcquisitionDateTime FrameAcquisitionDateTime FrameReferenceDateTime"), f"{DUMMY_DATE}000000"
    ),
    "ReceiveCoilManufacturerName": "",
    "TransmitCoilManufacturerName": "",
    "ParallelAcquisitionTechnique": "OTHER",
    "PixelPresentation": "MONOCHROME",
    "AcquisitionContrast": "UNKNOWN",
}
"""What stands in a multi-frame image for a value that may not stay; the colours of an image are left out with their
tables, so that Pixel Presentation (0008,9205) becomes MONOCHROME."""
