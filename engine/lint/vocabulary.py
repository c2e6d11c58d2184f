"""Every element and attribute of BPMN 2.0 (BPMN20.xsd, Semantic.xsd), where it stands, and what it does here.

Data only: engine.lint.standard applies it, docs/supported-elements.md explains it, and a test compares all three with
the schema. What is in none of the rows is refused.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

RUNS, DRAWN, IDLE, REFUSED = "runs", "drawn", "idle", "refused"
"""Executed; documentation or drawing; without effect although somebody might expect one (a warning); refused."""

_GROUPS: Mapping[str, str] = {
    "SCOPE": "process subProcess transaction",
    "ACTIVITY": "businessRuleTask callActivity manualTask receiveTask scriptTask sendTask serviceTask subProcess "
    "transaction userTask",
    "GATEWAY": "eventBasedGateway exclusiveGateway inclusiveGateway parallelGateway",
    "CATCH": "boundaryEvent intermediateCatchEvent startEvent",
    "THROW": "endEvent intermediateThrowEvent",
    "NODE": "ACTIVITY GATEWAY CATCH THROW",
    "POOLS": "choreography collaboration globalChoreographyTask globalConversation",
    "TALK": "callConversation conversation subConversation",
    "ROLE": "humanPerformer performer potentialOwner resourceRole",
    "WORK": "completionQuantity default isForCompensation name startQuantity",
    "FORMAL": "evaluatesToTypeRef language",
    "ITEM": "dataInput dataObject dataObjectReference dataOutput dataStore dataStoreReference inputDataItem "
    "outputDataItem property",
}

_ROWS: Mapping[str, str] = {
    RUNS: """
        definitions < / : exporter exporterVersion expressionLanguage name targetNamespace typeLanguage
        process < definitions : definitionalCollaborationRef isClosed isExecutable name processType
        startEvent < SCOPE : isInterrupting name parallelMultiple
        intermediateCatchEvent < SCOPE : name parallelMultiple
        intermediateThrowEvent endEvent < SCOPE : name
        boundaryEvent < SCOPE : attachedToRef cancelActivity name parallelMultiple
        cancelEventDefinition terminateEventDefinition conditionalEventDefinition timerEventDefinition < CATCH THROW :
        errorEventDefinition < CATCH THROW : errorRef
        escalationEventDefinition < CATCH THROW : escalationRef
        messageEventDefinition < CATCH THROW : messageRef
        signalEventDefinition < CATCH THROW : signalRef
        linkEventDefinition < CATCH THROW : name
        condition < conditionalEventDefinition : FORMAL
        timeCycle timeDate timeDuration < timerEventDefinition : FORMAL
        manualTask < SCOPE : WORK
        userTask businessRuleTask < SCOPE : WORK implementation
        serviceTask < SCOPE : WORK implementation operationRef
        sendTask < SCOPE : WORK implementation messageRef operationRef
        receiveTask < SCOPE : WORK implementation instantiate messageRef operationRef
        scriptTask < SCOPE : WORK scriptFormat
        script < scriptTask :
        callActivity < SCOPE : WORK calledElement
        subProcess < SCOPE : WORK triggeredByEvent
        transaction < SCOPE : WORK method triggeredByEvent
        exclusiveGateway inclusiveGateway < SCOPE : default gatewayDirection name
        parallelGateway < SCOPE : gatewayDirection name
        eventBasedGateway < SCOPE : eventGatewayType gatewayDirection instantiate name
        sequenceFlow < SCOPE : isImmediate name sourceRef targetRef
        conditionExpression < sequenceFlow : FORMAL
        standardLoopCharacteristics < ACTIVITY : loopMaximum testBefore
        loopCondition < standardLoopCharacteristics : FORMAL
        multiInstanceLoopCharacteristics < ACTIVITY : behavior isSequential noneBehaviorEventRef oneBehaviorEventRef
        loopCardinality completionCondition < multiInstanceLoopCharacteristics : FORMAL
        loopDataInputRef loopDataOutputRef < multiInstanceLoopCharacteristics :
        inputDataItem outputDataItem < multiInstanceLoopCharacteristics : isCollection itemSubjectRef name
        laneSet < SCOPE : name
        childLaneSet < lane : name
        lane < childLaneSet laneSet : name partitionElementRef
        flowNodeRef < lane :
        dataObject < SCOPE : isCollection itemSubjectRef name
        dataObjectReference < SCOPE : dataObjectRef itemSubjectRef name
        dataInputAssociation < ACTIVITY THROW :
        dataOutputAssociation < ACTIVITY CATCH :
        sourceRef targetRef < dataInputAssociation dataOutputAssociation :
        ioSpecification < ACTIVITY process :
        dataInput dataOutput < ioSpecification : isCollection itemSubjectRef name
        inputSet outputSet < ioSpecification : name
        dataInputRefs < inputSet :
        dataOutputRefs < outputSet :
        error < definitions : errorCode name structureRef
        escalation < definitions : escalationCode name structureRef
        message < definitions : itemRef name
        signal < definitions : name structureRef
        correlationProperty < definitions : name type
        correlationPropertyRetrievalExpression < correlationProperty : messageRef
        messagePath < correlationPropertyRetrievalExpression : FORMAL
        formalExpression < correlationPropertyRetrievalExpression : FORMAL
        correlationKey < POOLS TALK : name
        correlationSubscription < process : correlationKeyRef
        correlationPropertyBinding < correlationSubscription : correlationPropertyRef
        dataPath < correlationPropertyBinding : FORMAL
        correlationPropertyRef < correlationKey :
        extensionElements < * :
    """,
    DRAWN: """
        documentation < * : textFormat
        collaboration < definitions : isClosed name
        participant < POOLS : name processRef
        participantMultiplicity < participant : maximum minimum
        messageFlow < POOLS : messageRef name sourceRef targetRef
        association < SCOPE POOLS : associationDirection sourceRef targetRef
        group < SCOPE POOLS : categoryValueRef
        textAnnotation < SCOPE POOLS : textFormat
        text < textAnnotation :
        category < definitions : name
        categoryValue < category : value
        categoryValueRef < NODE sequenceFlow dataObject dataObjectReference dataStoreReference :
        incoming outgoing < NODE :
        auditing monitoring < process NODE sequenceFlow dataObject dataObjectReference dataStoreReference :
        property < process ACTIVITY CATCH THROW : itemSubjectRef name
        itemDefinition < definitions : isCollection itemKind structureRef
        dataState < ITEM : name
        dataStore < definitions : capacity isUnlimited itemSubjectRef name
        dataStoreReference < SCOPE : dataStoreRef itemSubjectRef name
        partitionElement < lane :
        supports < process :
        relationship < definitions : direction type
        source target < linkEventDefinition relationship :
        dataInput < THROW : isCollection itemSubjectRef name
        dataOutput < CATCH : isCollection itemSubjectRef name
        inputSet < THROW : name
        outputSet < CATCH : name
        partnerEntity partnerRole < definitions : name
        participantRef < partnerEntity partnerRole TALK :
    """,
    IDLE: """
        import < definitions : importType location namespace
        cancelEventDefinition terminateEventDefinition conditionalEventDefinition timerEventDefinition < definitions :
        errorEventDefinition < definitions : errorRef
        escalationEventDefinition < definitions : escalationRef
        messageEventDefinition < definitions : messageRef
        signalEventDefinition < definitions : signalRef
        compensateEventDefinition < definitions : activityRef waitForCompletion
        linkEventDefinition < definitions : name
        extension < definitions : definition mustUnderstand
        interface < definitions : implementationRef name
        operation < interface : implementationRef name
        inMessageRef outMessageRef errorRef < operation :
        operationRef < messageEventDefinition :
        interfaceRef endPointRef < participant :
        endPoint < definitions :
        supportedInterfaceRef < process :
        ioBinding < process : inputDataRef operationRef outputDataRef
        resource < definitions : name
        resourceParameter < resource : isRequired name type
        rendering < userTask :
        choreography < definitions : isClosed name
        globalChoreographyTask < definitions : initiatingParticipantRef isClosed name
        globalConversation < definitions : isClosed name
        choreographyRef < POOLS :
        conversation subConversation < POOLS subConversation : name
        callConversation < POOLS subConversation : calledCollaborationRef name
        conversationAssociation < POOLS : innerConversationNodeRef outerConversationNodeRef
        conversationLink < POOLS : name sourceRef targetRef
        messageFlowAssociation < POOLS : innerMessageFlowRef outerMessageFlowRef
        messageFlowRef < TALK :
        participantAssociation < POOLS callConversation :
        innerParticipantRef outerParticipantRef < participantAssociation :
    """,
    REFUSED: """
        task < SCOPE : WORK
        adHocSubProcess < SCOPE : WORK cancelRemainingInstances ordering triggeredByEvent
        completionCondition < adHocSubProcess : FORMAL
        complexGateway < SCOPE : default gatewayDirection name
        activationCondition < complexGateway : FORMAL
        compensateEventDefinition < CATCH THROW : activityRef waitForCompletion
        eventDefinitionRef < CATCH THROW :
        implicitThrowEvent < SCOPE : name
        event < complexBehaviorDefinition : name
        complexBehaviorDefinition < multiInstanceLoopCharacteristics :
        condition < complexBehaviorDefinition : FORMAL
        humanPerformer performer potentialOwner resourceRole < ACTIVITY process : name
        resourceRef resourceAssignmentExpression < ROLE :
        resourceParameterBinding < ROLE : parameterRef
        expression < resourceAssignmentExpression resourceParameterBinding :
        formalExpression < resourceAssignmentExpression resourceParameterBinding : FORMAL
        assignment transformation < dataInputAssociation dataOutputAssociation : FORMAL
        from to < assignment : FORMAL
        optionalInputRefs outputSetRefs whileExecutingInputRefs < inputSet :
        inputSetRefs optionalOutputRefs whileExecutingOutputRefs < outputSet :
        choreographyTask subChoreography < SCOPE : initiatingParticipantRef loopType name
        callChoreography < SCOPE : calledChoreographyRef initiatingParticipantRef loopType name
        globalTask globalManualTask < definitions : name
        globalBusinessRuleTask globalUserTask < definitions : implementation name
        globalScriptTask < definitions : name scriptLanguage
        script < globalScriptTask :
        callableElement < definitions : name
        dataAssociation < ACTIVITY :
    """,
}  # fmt: skip

ABSTRACT = frozenset({
    "activity", "artifact", "baseElement", "baseElementWithMixedContent", "catchEvent", "choreographyActivity",
    "conversationNode", "event", "eventDefinition", "flowElement", "flowNode", "gateway", "loopCharacteristics",
    "rootElement", "throwEvent",
})  # fmt: skip
"""Names of kinds in the schema; no document may contain such an element."""

RULES: Mapping[str, str] = {
    "task": "abstract-task",
    "compensateEventDefinition": "unsupported-event",
    "eventDefinitionRef": "multiple-event",
}
"""Who refuses what is refused, where it is not `unsupported`."""

INSTEAD: Mapping[str, str] = {
    "task": "say what kind of task this is: user, script, service, …",
    "adHocSubProcess": "draw the tasks behind a parallel gateway, or each behind a non-interrupting message event",
    "complexGateway": "draw an inclusive gateway, or a multi-instance activity with a completion condition",
    "compensateEventDefinition": "draw the steps that undo the work behind an error or cancel boundary event",
    "eventDefinitionRef": "write the event definition inside the event",
    "implicitThrowEvent": "draw an intermediate throw event",
    "complexBehaviorDefinition": "end the activity by its completionCondition and throw the event behind it",
    "humanPerformer": "name people by the task's property assignee, candidateUsers or candidateGroup, or by its lane",
    "performer": "name people by the task's property assignee, candidateUsers or candidateGroup, or by its lane",
    "potentialOwner": "name people by the task's property assignee, candidateUsers or candidateGroup, or by its lane",
    "resourceRole": "name people by the task's property assignee, candidateUsers or candidateGroup, or by its lane",
    "assignment": "compute the value in a script task, a preScript or a postScript",
    "transformation": "compute the value in a script task, a preScript or a postScript",
    "optionalInputRefs": "list only what is always there in the input set, or leave out the ioSpecification",
    "outputSetRefs": "one input set and one output set, both complete",
    "whileExecutingInputRefs": "list only what is there at the start in the input set",
    "inputSetRefs": "one input set and one output set, both complete",
    "optionalOutputRefs": "list only what is always there in the output set, or leave out the ioSpecification",
    "whileExecutingOutputRefs": "list only what is there at the end in the output set",
    "choreographyTask": "draw each party's process, with message events between them",
    "subChoreography": "draw each party's process, with message events between them",
    "callChoreography": "draw each party's process, with message events between them",
    "globalTask": "draw the task in a process of its own and call that",
    "globalManualTask": "draw the task in a process of its own and call that",
    "globalBusinessRuleTask": "draw the task in a process of its own and call that",
    "globalUserTask": "draw the task in a process of its own and call that",
    "globalScriptTask": "draw the task in a process of its own and call that",
    "callableElement": "draw a process",
    "dataAssociation": "draw a dataInputAssociation or a dataOutputAssociation",
}
"""What to draw instead of what is refused; what stands inside goes with it."""

WHY_IDLE: Mapping[str, str] = {
    "import": "nothing is read from elsewhere: deploy all files together",
    "extension": "an extension of another tool",
    "interface": "a service task names its operator",
    "operationRef": "a service task names its operator, an event its message",
    "interfaceRef": "a service task names its operator",
    "endPointRef": "a service task names its operator",
    "endPoint": "a service task names its operator",
    "supportedInterfaceRef": "a process is called by its id",
    "ioBinding": "a process is called by its id",
    "resource": "people are named by a task's properties or by its lane",
    "rendering": "a task names its form by the property formJsonSchemaFilename",
    "choreography": "only processes are executed",
    "globalChoreographyTask": "only processes are executed",
    "globalConversation": "only processes are executed",
    "choreographyRef": "only processes are executed",
    "conversation": "messages find an instance by correlationKey and correlationProperty",
    "subConversation": "messages find an instance by correlationKey and correlationProperty",
    "callConversation": "messages find an instance by correlationKey and correlationProperty",
    "conversationAssociation": "only processes are executed",
    "conversationLink": "only processes are executed",
    "messageFlowAssociation": "only processes are executed",
    "participantAssociation": "only processes are executed",
}
"""Why an idle element does nothing; what stands inside goes with it. Event definitions outside an event have no row."""


class ValueRule(NamedTuple):
    """The only values of an attribute that mean what is executed; without any, the attribute is refused."""

    allowed: tuple[str, ...]
    instead: str


VALUES: Mapping[str, ValueRule] = {
    "startQuantity": ValueRule(("1",), "let a parallel gateway wait for the tokens"),
    "completionQuantity": ValueRule(("1",), "draw as many flows as tokens shall leave"),
    "instantiate": ValueRule(("false",), "begin the process with a message start event"),
    "eventGatewayType": ValueRule(("Exclusive",), "wait for several events behind a parallel gateway"),
    "behavior": ValueRule(("All",), "throw the event behind the activity"),
    "oneBehaviorEventRef": ValueRule((), "throw the event behind the activity"),
    "noneBehaviorEventRef": ValueRule((), "throw the event behind the activity"),
    "isImmediate": ValueRule(("true",), "a flow of an executable process is immediate"),
    "method": ValueRule(("##Compensate", "compensate"), "draw the steps that undo the work behind a cancel event"),
    "mustUnderstand": ValueRule(("false",), "express it in BPMN"),
}

BOOLEANS = frozenset({
    "cancelActivity", "instantiate", "isCollection", "isExecutable", "isForCompensation", "isImmediate",
    "isInterrupting", "isSequential", "mustUnderstand", "parallelMultiple", "testBefore", "triggeredByEvent",
})  # fmt: skip
"""The schema lets a truth value be written 1 or 0 as well; everything that reads a diagram here expects words."""

ONCE = frozenset({
    "completionCondition", "condition", "conditionExpression", "inputDataItem", "inputSet", "ioSpecification",
    "loopCardinality", "loopCondition", "loopDataInputRef", "loopDataOutputRef", "messagePath",
    "multiInstanceLoopCharacteristics", "outputDataItem", "outputSet", "script", "standardLoopCharacteristics",
})  # fmt: skip
"""Of these only the first in its parent would be read."""


class Entry(NamedTuple):
    """How an element stands in one kind of parent. `attributes` are those besides `id`."""

    verdict: str
    attributes: frozenset[str]


def _expand(words: str) -> Iterator[str]:
    for word in words.split():
        if word in _GROUPS:
            yield from _expand(_GROUPS[word])
        else:
            yield word


def _read() -> dict[str, dict[str, Entry]]:
    found: dict[str, dict[str, Entry]] = {}
    for verdict, rows in _ROWS.items():
        for row in filter(None, map(str.strip, rows.splitlines())):
            names, _, rest = row.partition(" < ")
            parents, _, attributes = rest.partition(":")
            for name in names.split():
                for parent in _expand(parents):
                    found.setdefault(name, {})[parent] = Entry(verdict, frozenset(_expand(attributes)))
    return found


VOCABULARY: Mapping[str, Mapping[str, Entry]] = _read()
"""Element -> parent (`*` for any, `/` for the document) -> entry."""
